"""Work done by threads before it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], numbers: Iterable[int], workers: int) -> Generator[T, None, None]:
    """``make(k)`` for each of ``numbers``, in their order, by ``workers`` threads.

    No more than ``workers`` results are made or waiting at a time, beside the one that was given last. An error of
    ``make`` comes where its result would; closing the iterator ends the threads.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mmcl-read")
    waiting: deque[Future[T]] = deque()
    try:
        for k in numbers:
            waiting.append(pool.submit(make, k))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
