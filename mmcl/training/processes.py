"""The processes that train one run: how many there are, which one this is, and how they agree.

One process for each device, started by torchrun, by SLURM's srun, or by :func:`launch` on one machine. Process 0 keeps
the run's records; the others train with it and write nothing.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch import distributed as dist

from mmcl.cores import usable_cores
from mmcl.errors import UserError

LAUNCHED = "MMCL_LAUNCHED"
GRACE_S = 30
"""What the other processes are given to end by themselves after one has failed."""


def environment() -> ClusterEnvironment:
    """Who started this process, as Lightning needs to know it.

    SLURM counts only inside of ``srun`` with several tasks: alone in a job, a process is like any other, and nobody but
    the launcher requeues jobs.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if _srun_tasks() > 1:
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def _srun_tasks() -> int:
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) if "SLURM_PROCID" in os.environ else 1


def started() -> int | None:
    """The number of processes that somebody has started, or ``None`` where this one is on its own."""
    if TorchElasticEnvironment.detect() or LAUNCHED in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return _srun_tasks() if _srun_tasks() > 1 else None


def check_started(wanted: int) -> None:
    """Raise ``UserError`` unless the processes that were started are those that the config wants."""
    found = started()
    if found is not None and found != wanted:
        raise UserError(
            f"trainer.devices x trainer.num_nodes = {wanted}, but {found} processes were started; start one for each "
            "device (srun --ntasks-per-node, torchrun --nproc-per-node), and set trainer.devices and trainer.num_nodes "
            "to match"
        )


@dataclass
class Processes:
    """The processes of a run. Every method but :meth:`release` must be called by all of them.

    ``rank``: 0 for the one that keeps records; ``ranks``: how many there are.
    """

    rank: int = 0
    ranks: int = 1
    _told: bool = field(default=False, init=False)

    def tell(self, value: Any) -> Any:
        """Process 0's ``value``, in all processes: builtins and CPU tensors."""
        self._told = True
        if self.ranks == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def release(self) -> None:
        """By process 0, at its end: the others, if they still wait to be told what to do, hear ``None``."""
        if not self._told:
            self.tell(None)

    def largest(self, value: int) -> int:
        """The largest of all processes' values; costs nothing where there is one process."""
        if self.ranks == 1:
            return value
        # On the CPU, so that nobody waits for an accelerator.
        box = torch.tensor(value)
        dist.all_reduce(box, op=dist.ReduceOp.MAX)
        return int(box)


def join(accelerator: str = "auto") -> Processes:
    """Meet the other processes of this run, if there are any. Once in a process's life; later calls find the same.

    Args:
        accelerator: ``trainer.accelerator``; one that may be a GPU gives each process of a machine its own.

    Raises:
        UserError: a machine has fewer GPUs than processes.
    """
    ranks = started() or 1
    if ranks == 1:
        return Processes()
    here = environment()
    # LightningEnvironment learns its rank from the strategy, later than it is wanted here.
    rank = int(os.environ["LOCAL_RANK"]) if LAUNCHED in os.environ else here.global_rank()
    if not dist.is_initialized():
        os.environ["MASTER_ADDR"] = here.main_address
        os.environ["MASTER_PORT"] = str(here.main_port)
        backend = "gloo"
        if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            gpus, local = torch.cuda.device_count(), here.local_rank()
            if local >= gpus:
                raise UserError(
                    f"trainer.devices: process {local} of this machine has no GPU, of which there are {gpus}; set "
                    f"trainer.devices={gpus}, or trainer.accelerator=cpu"
                )
            torch.cuda.set_device(local)
            backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, rank=rank, world_size=ranks)
        atexit.register(_leave)
    return Processes(rank, ranks)


def abandon() -> None:
    """After a failure: end without leaving the group, which waits for operations that the others may never join."""
    atexit.unregister(_leave)


def _leave() -> None:
    """End the group's threads while Python still stands: one that Python's own end meets may abort the process."""
    if dist.is_initialized():
        dist.destroy_process_group()


def launch(count: int, command: Sequence[str]) -> int:
    """Run ``command`` in ``count`` processes on this machine, one for each device.

    Signals are passed on; a second one ends all at once. When one process fails, the others are asked to end, and
    ended after half a minute.

    Returns:
        The exit code of the first that failed, or 0.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        LAUNCHED: "1",
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // count))),
    }
    processes: list[subprocess.Popen[bytes]] = []
    asked = False

    def pass_on(number: int, _: Any) -> None:
        nonlocal asked
        for process in processes:
            process.send_signal(signal.SIGKILL if asked else number)
        asked = True

    before = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for rank in range(count):
            here = {**os.environ, **shared, "LOCAL_RANK": str(rank)}
            # Sessions of their own: a terminal's Ctrl-C reaches them once, from here.
            processes.append(subprocess.Popen(command, env=here, start_new_session=True))
        return _wait(processes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in processes:
            process.kill()


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    code, deadline = 0, math.inf
    while None in [process.poll() for process in processes]:  # all of them: polling finds who has failed
        failed = next((p.returncode for p in processes if p.returncode), 0)
        if failed and not code:
            code, deadline = failed, time.monotonic() + GRACE_S
            for process in processes:
                process.terminate()
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    code = code or next((p.returncode for p in processes if p.returncode), 0)
    return code if code >= 0 else 128 - code
