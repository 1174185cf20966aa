"""A sweep on a real SLURM: a controller and a node on this machine, jobs requeued, preempted, out of time, and failing.

``make test-slurm`` runs it, and starts the daemons itself (Debian's packages; as root).
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from mmcl.records import tensors
from mmcl.records.sweep import State, read_sweep

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[2]
LOCAL = Path(__file__).parent / "slurm-local.sh"
STEPS = 12000  # a minute beside others: SLURM looks at time limits twice a minute
RUN = (
    "experiment=smoke",
    "name=queue",
    f"trainer.max_steps={STEPS}",
    "trainer.checkpoint_every_n_steps=200",
    "trainer.steps_per_execution=10",
    "evaluator=[linear]",
)
SEEDS = range(6)
REQUEUED, PREEMPTED, OUT_OF_TIME, FAILING = 0, 1, 2, 5
SOON = 3  # seconds


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands reach a controller of our own."""
    folder = tmp_path_factory.mktemp("slurm")
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        ports = {"CTLD": a.getsockname()[1], "SLURMD": b.getsockname()[1]}
    environment = {**os.environ, "SLURM_LOCAL_DIR": str(folder), "SLURM_LOCAL_CPUS": "4"}
    environment |= {f"SLURM_LOCAL_{name}_PORT": str(port) for name, port in ports.items()}
    made = subprocess.run(
        ["bash", LOCAL, "start"], env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode:
        message = f"SLURM did not start: {made.stderr[-500:]}"
        # Somebody without root may not have it; CI must.
        pytest.fail(message) if "CI" in os.environ else pytest.skip(message)
    here = {
        **os.environ,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    yield here
    subprocess.run(["bash", LOCAL, "stop"], env=environment, capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_job_is_left(slurm) -> Iterator[None]:
    """A test that fails leaves its jobs in the queue, where the next one would find them."""
    yield
    subprocess.run(["scancel", "--user", getpass.getuser()], env=slurm, capture_output=True, check=False)
    queue = Queue(slurm)
    until("the queue is empty", lambda: not queue("squeue", "-h"), seconds=60)


def until(what: str, condition: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.3)


class Queue:
    """What SLURM's commands say and do."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done.stdout

    def states(self) -> dict[int, tuple[str, str]]:
        """Task of the array -> (its job's name, its state).

        The name is ``12_3``, not the number that ``squeue`` also gives each task: one task's number is the array's
        own, and by that SLURM would change, or fail to change, all of them.
        """
        found = {}
        for line in self("squeue", "-h", "-r", "-p", "low", "-o", "%i %T").splitlines():
            name, state = line.split()
            found[int(name.partition("_")[2] or 0)] = (name, state)
        return found

    def hasten(self) -> None:
        """Shorten the two minutes that a requeued job waits, but not to nothing.

        A node knows a job that was taken off it by the second: started again within the same one, the new job is taken
        for the old, is refused, and ends as FAILED.
        """
        for line in self("squeue", "-h", "-r", "-p", "low", "-t", "PENDING", "-o", "%i %S").splitlines():
            job, start = line.split()
            if start == "N/A":
                continue
            if (datetime.fromisoformat(start) - datetime.now()).total_seconds() > SOON + 1:
                self("scontrol", "update", f"JobId={job}", f"StartTime=now+{SOON}")


def manifest(run_dir: Path) -> dict:
    path = run_dir / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_an_array_that_is_requeued_preempted_and_cut_short_ends_with_the_weights_of_local_runs(
    slurm, tmp_path
):
    train = [sys.executable, str(ROOT / "train.py"), "-m", *RUN]
    seeds = f"seed={','.join(map(str, SEEDS))}"
    check = [sys.executable, "-m", "mmcl", "check", "-m", *RUN, seeds]
    printed = subprocess.run(
        check, cwd=tmp_path, env=slurm, capture_output=True, text=True, check=True
    ).stdout
    keys = [line.split()[0].rpartition("/")[2] for line in printed.splitlines()[: len(SEEDS)]]
    sweep = tmp_path / "multirun" / "queue"
    dirs = [sweep / key for key in keys]
    # One task has an error: its checkpoint is damaged.
    (dirs[FAILING] / "checkpoints").mkdir(parents=True)
    (dirs[FAILING] / "checkpoints" / "last.ckpt").write_bytes(b"not a checkpoint")

    queue = Queue(slurm)

    def state(task: int) -> State:
        return next(run.state for run in read_sweep(sweep).runs if run.run_key == keys[task])

    def steps(task: int) -> int:
        run = next(run for run in read_sweep(sweep).runs if run.run_key == keys[task])
        return run.beat.done if run.beat is not None and run.beat.doing == "train" else 0

    options = ["hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=1"]
    with open(tmp_path / "launch.log", "w") as log:
        launch = subprocess.Popen([*train, seeds, *options], cwd=tmp_path, env=slurm, stdout=log, stderr=log)
    try:
        until("the array is in the queue", lambda: len(queue.states()) == len(SEEDS))
        assert state(FAILING - 1) is State.missing  # four cores: it waits
        until("the first run trains", lambda: steps(REQUEUED) > 300)
        assert state(REQUEUED) is State.running

        # SLURM takes the first off its node: TERM, and KILL five seconds later.
        queue("scontrol", "requeue", queue.states()[REQUEUED][0])
        until("the third run trains", lambda: steps(OUT_OF_TIME) > 300)
        # The third runs out of time: SLURM warns it, as it does two minutes before its limit.
        job = queue.states()[OUT_OF_TIME][0]
        queue("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        until("the third is stopped and queued", lambda: state(OUT_OF_TIME) is State.interrupted)
        assert 300 < manifest(dirs[OUT_OF_TIME])["steps_done"] < STEPS

        until("the second run trains", lambda: steps(PREEMPTED) > 300)
        urgent = queue(
            "sbatch",
            "--parsable",
            "-p",
            "high",
            "-n4",
            "--wrap",
            "sleep 3",
            "-o",
            str(tmp_path / "urgent.log"),
        )
        until("the second makes way", lambda: state(PREEMPTED) is State.interrupted)
        assert 300 < manifest(dirs[PREEMPTED])["steps_done"] < STEPS
        assert urgent.strip().isdigit()

        until(
            "the first is known to have died",
            lambda: state(REQUEUED) in (State.stale, State.done),
            seconds=120,
        )
        waiting = {task: s for task, (_, s) in queue.states().items() if s == "PENDING"}
        assert REQUEUED in waiting

        def ended() -> bool:
            queue.hasten()
            return launch.poll() is not None

        until("the sweep ends", ended, seconds=600)
    finally:
        if launch.poll() is None:
            launch.kill()
    said = (tmp_path / "launch.log").read_text()
    assert launch.returncode == 1, said
    assert f"1 run(s) of {len(SEEDS)} are not done" in said
    assert "damaged" in said.splitlines()[-1]
    assert "Traceback" not in said
    shown = subprocess.run(
        [sys.executable, "-m", "mmcl", "status", str(sweep)],
        env=slurm,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 1
    assert "5 done, 1 failed" in shown.stdout

    # Interrupted runs went on where they stood, in the same folder, and nothing was run twice.
    for task in (REQUEUED, PREEMPTED, OUT_OF_TIME):
        assert len(manifest(dirs[task])["attempts"]) >= 2
    rows = (dirs[REQUEUED] / "metrics.csv").read_text().splitlines()
    assert len(rows) == len(set(rows))

    good = ",".join(str(seed) for seed in SEEDS if seed != FAILING)
    local = tmp_path / "local"
    local.mkdir()
    subprocess.run([*train, f"seed={good}"], cwd=local, env=slurm, capture_output=True, check=True)
    for task in SEEDS:
        if task != FAILING:
            there, here = (
                dirs[task] / "encoders.pt",
                local / "multirun" / "queue" / keys[task] / "encoders.pt",
            )
            assert manifest(dirs[task])["attempts"][-1]["threads"] == 1
            assert there.read_bytes() == here.read_bytes(), f"seed {task}"


def test_a_queued_job_runs_the_code_that_was_submitted(slurm, tmp_path):
    """The code changes while the job waits; and the job says whose code it ran."""
    project = tmp_path / "project"
    project.mkdir()
    for part in ("train.py", "pyproject.toml", "mmcl", "conf", "hydra_plugins"):
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, project / part)
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *command], cwd=project, check=True)
    first = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True
    )
    queue = Queue(slurm)
    blocker = queue(
        "sbatch", "--parsable", "-p", "main", "-n4", "--wrap", "sleep 60", "-o", str(tmp_path / "b.log")
    )
    train = [sys.executable, "train.py", "-m", "experiment=smoke", "evaluator=[linear]", "seed=0"]
    options = ["hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=1"]
    environment = {**slurm, "PYTHONPATH": str(project)}
    launch = subprocess.Popen(
        [*train, *options],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        until("the job waits", lambda: [s for _, s in queue.states().values()] == ["PENDING"])
        smoke = project / "conf" / "experiment" / "smoke.yaml"
        smoke.write_text(smoke.read_text().replace("max_steps: 40", "max_steps: 4"))
        jobs = project / "mmcl" / "jobs.py"
        jobs.write_text("raise SystemExit('not what was submitted')\n")
        queue("scancel", blocker.strip())
        said = launch.communicate(timeout=240)[0]
    finally:
        if launch.poll() is None:
            launch.kill()
    assert launch.returncode == 0, said
    (run_dir,) = (p.parent for p in project.glob("multirun/smoke/*/manifest.json"))
    assert manifest(run_dir)["steps_done"] == 40
    assert manifest(run_dir)["attempts"][-1]["git"] == {"commit": first.stdout.strip(), "dirty": False}


def test_two_tasks_of_a_job_train_one_run(slurm, tmp_path):
    """As ``hydra/launcher=slurm_gpus`` starts them, without GPUs; requeued once, in the middle."""
    run = (
        "experiment=smoke",
        "evaluator=[linear,heldout_loss]",
        "evaluation.n_fit=64",
        "evaluation.n_test=64",
    )
    long = (
        "name=pair",
        "trainer.precision=fp64",
        "trainer.max_steps=3000",
        "trainer.steps_per_execution=10",
    )
    train = [sys.executable, str(ROOT / "train.py"), *run, *long, "trainer.accelerator=cpu"]
    options = ("hydra/launcher=slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=1")
    wrong = subprocess.run(
        [*train, "-m", *options, "trainer.devices=2"],
        cwd=tmp_path, env=slurm, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert wrong.returncode == 2
    assert "hydra.launcher.tasks_per_node=2" in wrong.stderr

    queue = Queue(slurm)
    with open(tmp_path / "launch.log", "w") as log:
        launch = subprocess.Popen(
            [*train, "-m", *options, "trainer.devices=2", "hydra.launcher.tasks_per_node=2"],
            cwd=tmp_path, env=slurm, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        sweep = tmp_path / "multirun" / "pair"

        def steps() -> int:
            runs = read_sweep(sweep).runs if (sweep / "sweep.json").exists() else []
            return runs[0].beat.done if runs and runs[0].beat is not None else 0

        until("the two train", lambda: steps() > 300)
        # What SLURM sends all tasks of a job ahead of its time's end. Not by a shorter limit: SLURM looks at limits
        # twice a minute, and on a fast machine the run ends sooner.
        ((job, _),) = queue.states().values()
        queue("scancel", "--signal=USR2", job)
        until("they stop", lambda: read_sweep(sweep).runs[0].state is State.interrupted)
        until("it is queued again", lambda: [s for _, s in queue.states().values()] == ["PENDING"])

        def ended() -> bool:
            queue.hasten()
            return launch.poll() is not None

        until("the sweep ends", ended, seconds=240)
    finally:
        if launch.poll() is None:
            launch.kill()
    said = (tmp_path / "launch.log").read_text()
    assert launch.returncode == 0, said
    (path,) = sweep.glob("*/encoders.pt")
    values = manifest(path.parent)
    assert [attempt["processes"] for attempt in values["attempts"]] == [2, 2]
    assert set(values["evaluations"]) == {"linear", "heldout_loss"}

    subprocess.run(train, cwd=tmp_path, env=slurm, capture_output=True, check=True)
    (alone,) = tmp_path.glob("runs/pair/*/encoders.pt")
    two, one = (tensors.load(p)["encoders"] for p in (path, alone))
    assert max(float((two[name] - one[name]).abs().max()) for name in one) < 1e-8
