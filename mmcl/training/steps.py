"""When something that is to happen every so many steps is due."""

from __future__ import annotations


def due(step: int, taken: int, every: int) -> bool:
    """Whether a multiple of ``every`` is among the ``taken`` steps that end with ``step``.

    >>> [step for step in range(5, 31, 5) if due(step, taken=5, every=12)]
    [15, 25]
    """
    return step // every > (step - taken) // every
