"""A run from its config to its records: train (or resume), evaluate, and nothing twice."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from mmcl.checks import require_choice
from mmcl.config.schema import Train, validate_train
from mmcl.data import FiniteWorld, StreamingDataModule
from mmcl.errors import UserError
from mmcl.evaluators import REFERENCES, Row, run_evaluators
from mmcl.random import Stream, generator
from mmcl.records import manifest as records
from mmcl.records import tensors
from mmcl.records.files import read_csv, write_bytes, write_csv
from mmcl.records.heartbeat import Heartbeat, beating
from mmcl.records.keys import evaluation_keys, foreign_callbacks
from mmcl.records.lock import locked
from mmcl.records.manifest import COMPLETED, FAILED, INTERRUPTED, RUNNING, Manifest
from mmcl.records.weights import REMEDY, read_weights, unreadable
from mmcl.theory import informations
from mmcl.training.callbacks import Beat, LogLoss, Resumable
from mmcl.training.context import Context
from mmcl.training.loggers import LoggedRun, Loggers
from mmcl.training.module import ContrastiveModule, Projected
from mmcl.training.processes import Processes
from mmcl.training.start import begin_with
from mmcl.training.stop import Stop
from mmcl.training.trainer import Precision
from mmcl.worlds import (
    Batch,
    CountedWorld,
    GaussianWorld,
    KnownWorld,
    SplitWorld,
    StreamedWorld,
    World,
    content_of,
    part_of,
    world_hash,
)

RESULT_COLUMNS = (
    "run_key",
    "seed",
    "evaluator",
    "evaluation_key",
    "split",
    "representation",
    "intervention",
    "target",
    "metric",
    "value",
    "chance",
    "ceiling",
    "n_fit",
    "n_test",
)


PICTURES = "pictures"
"""The folder of a run's pictures."""

CALIBRATION = 16384
"""Samples that an encoder may set its first layer from, unless the world says how many: part of what a seed means."""


class InterruptedRun(Exception):
    """Training stopped early on a signal; the same command goes on from there."""

    def __init__(self, signal: int, step: int) -> None:
        super().__init__(f"stopped at step {step} by signal {signal}")
        self.signal = signal
        self.step = step


DEFAULT_THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class Around:
    """What stands around a run while process 0 works on it: the other processes, loggers, a heartbeat."""

    processes: Processes
    loggers: Loggers
    heart: Heartbeat


def open_loggers(config: Train, run_dir: Path, *, sweep: bool = False) -> Loggers:
    """The loggers of a job, as a context that closes them; ``sweep``: it is one of several."""
    return Loggers(config.logger, LoggedRun(run_dir, config.run_key, config.resolved, sweep))


def train(
    config: Train,
    run_dir: Path,
    overrides: list[str],
    processes: Processes | None = None,
    loggers: Loggers | None = None,
) -> Manifest | None:
    """Bring the run in ``run_dir`` to its end, from wherever it stands.

    A finished run is left as it is, but for evaluators that are new or whose config changed; ``force`` trains it again
    from the start. A run that stopped early goes on at its last checkpoint, and ends with the weights that an
    uninterrupted run would have, bitwise on one CPU.

    Args:
        config: what to run.
        run_dir: made if it is not there.
        overrides: the command's, for the record.
        processes: those that train this run, each of which calls this function; ``None``: this one alone. Process 0
            does all there is to do but for the training, in which the others join it.
        loggers: those of :func:`open_loggers`, which the caller closes; ``None``: the run has its own.

    Returns:
        The run's manifest, in process 0.

    Raises:
        InterruptedRun: SIGINT or SIGTERM arrived.
        LockedError: another process is working on this run.
        UserError, ValueError, OSError: with a message for people. What went wrong is in the manifest too.
    """
    processes = processes or Processes()
    if processes.rank:
        _follow(config, run_dir, processes)
        return None
    try:
        if loggers is not None:
            return _lead(config, run_dir, overrides, processes, loggers)
        with open_loggers(config, run_dir) as own:
            return _lead(config, run_dir, overrides, processes, own)
    finally:
        processes.release()


def _follow(config: Train, run_dir: Path, processes: Processes) -> None:
    """A process that trains with process 0, if that one does, and writes nothing."""
    order = processes.tell(None)
    if order is None:
        return
    _set_threads(config)
    stop = Stop()
    # A library's callbacks may do anything to the weights, and so must be everywhere.
    context = Context(run_dir, config.data.restore(order["world"]), config.run.seed)
    callbacks = [config.callbacks[name].build(context) for name in foreign_callbacks(config.resolved)]
    _, trainer = _fit(config, run_dir, context.world, order["start"], (callbacks, []), stop, processes)
    if stop.signal is not None:
        raise InterruptedRun(stop.signal, trainer.global_step)


def _lead(
    config: Train, run_dir: Path, overrides: list[str], processes: Processes, loggers: Loggers
) -> Manifest:
    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir), beating(run_dir) as heart:
        manifest = Manifest.read(run_dir)
        if manifest is not None:
            _check_key(config, manifest, run_dir)
            if config.run.force and manifest.status == COMPLETED:
                _clear(run_dir)
                manifest = None
        if manifest is None:
            manifest = Manifest(
                run_dir,
                {
                    "schema_version": records.SCHEMA_VERSION,
                    "run_key": config.run_key,
                    "name": config.run.name,
                    "seed": config.run.seed,
                    "status": RUNNING,
                    "trained": False,
                    "attempts": [],
                    "evaluations": {},
                    "train_s": 0.0,
                },
            )
        try:
            around = Around(processes, loggers, heart)
            _bring_to_its_end(config, run_dir, overrides, manifest, around)
        except InterruptedRun as stopped:
            manifest.update(status=INTERRUPTED, error=str(stopped))
            raise
        except (KeyboardInterrupt, SystemExit):  # SystemExit: put back into the queue
            _note(manifest, INTERRUPTED, "interrupted")
            raise
        except Exception as error:
            _note(manifest, FAILED, " ".join(str(error).split()))
            raise
    return manifest


def _note(manifest: Manifest, status: str, error: str) -> None:
    """Record how a run ended, if that can still be written (the disk may be full). A finished run stays finished."""
    if manifest.status != COMPLETED:
        with contextlib.suppress(OSError):
            manifest.update(status=status, error=error)


def _set_threads(config: Train) -> None:
    torch.set_num_threads(config.trainer.threads or DEFAULT_THREADS)


def _bring_to_its_end(
    config: Train, run_dir: Path, overrides: list[str], manifest: Manifest, around: Around
) -> None:
    began = time.perf_counter()
    _set_threads(config)
    done = manifest.status == COMPLETED
    attempt = {
        "started": records.now(),
        "overrides": overrides,
        "threads": torch.get_num_threads(),
        "processes": around.processes.ranks,
        "versions": records.versions(),
        "git": records.git_state(Path(__file__).parent),
    }
    if not done:
        manifest.update(status=RUNNING, error=None, attempts=[*manifest.values["attempts"], attempt])
    _write_config(config, run_dir, done)
    world = _world(config, run_dir, manifest)
    if not manifest.values["trained"]:
        _check_fit(config, world)
        _train_weights(config, run_dir, world, manifest, around)
    around.processes.release()  # the rest is for this process alone
    if _evaluate(config, run_dir, manifest, around.heart, again=False) or not done:
        around.loggers.start(None)  # where nothing was left to train, they have only the results to tell
    if not done:
        attempt["wall_s"] = round(time.perf_counter() - began, 1)
        manifest.update(status=COMPLETED, ended=records.now(), attempts=manifest.values["attempts"])


def _write_config(config: Train, run_dir: Path, done: bool) -> None:
    """Write what runs. Of a finished run nothing changes any more but the evaluators, which are added to."""
    resolved = config.resolved
    if done:
        old = _read_yaml(run_dir)  # as it stands: an older version's evaluators may have had other keys
        resolved = {**old, "evaluator": {**old.get("evaluator", {}), **resolved["evaluator"]}}
    write_bytes(run_dir / "config.yaml", yaml.safe_dump(resolved, sort_keys=False).encode())


def _check_key(config: Train, manifest: Manifest, run_dir: Path) -> None:
    if config.run_key != manifest.values["run_key"]:
        raise UserError(
            f"{run_dir}: holds run {manifest.values['run_key']}, but the config is that of run {config.run_key}; "
            "give each run a directory of its own, and leave config.yaml as it was written"
        )


def evaluate(run_dir: Path, evaluator: Any | None) -> None:
    """Evaluate a trained run again, from its directory alone.

    A run whose own evaluators all have rows now, though it once ended before they had, is a finished run.

    Args:
        run_dir: the run's directory.
        evaluator: evaluators to use instead of those in the run's config; they may refer to its keys.

    Raises:
        LockedError: another process is working on this run.
        UserError: no such run, or one whose training has not ended.
        ValueError: a file of the run is damaged or was changed.
    """
    no_run = UserError(
        f"run_dir={run_dir}: no run there (no manifest.json); name a folder such as runs/EXPERIMENT/KEY"
    )
    if not (run_dir / "manifest.json").exists():
        raise no_run  # before a lock is left in a folder that is none of ours
    with locked(run_dir):
        manifest = Manifest.read(run_dir)
        if manifest is None:
            raise no_run
        config = read_config(run_dir, evaluator)
        _check_key(config, manifest, run_dir)
        if not manifest.values["trained"]:
            raise UserError(
                f"run_dir={run_dir}: its training has not ended (status {manifest.status}); "
                "run its train command again to finish it"
            )
        _set_threads(config)
        with beating(run_dir) as heart:
            _evaluate(config, run_dir, manifest, heart, again=True)
        if manifest.status != COMPLETED and _evaluated(run_dir, manifest):
            manifest.update(status=COMPLETED, error=None, ended=records.now())


def _evaluated(run_dir: Path, manifest: Manifest) -> bool:
    """Whether the rows of all evaluators of the run's own config are there and current."""
    try:
        keys = evaluation_keys(read_config(run_dir).resolved)
    except UserError:  # an evaluator that this version does not know
        return False
    table = _read_table(run_dir / "results.csv")
    return all(_is_current(name, key, table, manifest) for name, key in keys.items())


def _read_yaml(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; copy the whole run directory") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a config")
    return values


def read_config(run_dir: Path, evaluator: Any | None = None) -> Train:
    """The validated config that a run directory holds, with ``evaluator`` instead of its own if given."""
    values = _read_yaml(run_dir)
    try:
        config = validate_train(
            values if evaluator is None else OmegaConf.create({**values, "evaluator": evaluator})
        )
    except UserError as error:
        hint = (
            "; name others: evaluator=[...]"
            if str(error).startswith("evaluator.") and evaluator is None
            else ""
        )
        raise UserError(f"{run_dir / 'config.yaml'}: {error}{hint}") from None
    # The run is known by the config that it wrote, also when a later version has fields that it did not know. An
    # evaluation is what this version's evaluators do, new fields included.
    return dataclasses.replace(config, resolved={**values, "evaluator": config.resolved["evaluator"]})


OWN = (
    "manifest.json",
    "checkpoints/last.ckpt",
    "encoders.pt",
    "world.pt",
    "metrics.csv",
    "results.csv",
    "figure.png",
    "config.yaml",
    "error.log",
)


def _clear(run_dir: Path) -> None:
    """Forget a finished run. The manifest goes first: what is left without one is no run. Other files stay."""
    for name in OWN:
        (run_dir / name).unlink(missing_ok=True)


def _checkpoint(run_dir: Path) -> Path:
    return run_dir / "checkpoints" / "last.ckpt"


def _world(config: Train, run_dir: Path, manifest: Manifest) -> World:
    """The run's world: drawn and saved the first time, loaded ever after."""
    path = run_dir / "world.pt"
    if "world_sha256" not in manifest.values:
        world: World = config.data.draw(generator(config.run.seed, Stream.WORLD))
        state = world.state_dict()
        tensors.save(path, state)
        manifest.update(world_sha256=world_hash(state))
    try:
        state = tensors.load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {REMEDY}") from None
    except ValueError as error:
        raise UserError(f"{error}; {REMEDY}") from None
    if not isinstance(state, dict) or world_hash(state) != manifest.values["world_sha256"]:
        raise UserError(f"{path}: is not the world that this run was trained in (its hash differs); {REMEDY}")
    restored: World = config.data.restore(state)
    return restored


def _check_fit(config: Train, world: World) -> None:
    """What would end a run late: that evaluators want more held-out samples than there are, or a law that is not known,
    or texts more words."""
    for name, evaluator in config.evaluator.items():
        if getattr(evaluator, "of_gaussian_worlds", False) and _covariance(world) is None:
            raise UserError(
                f"evaluator.{name}: the world's covariance is not known; it is of data=gaussian, random_field: leave "
                f"{name} out of evaluator=[...]"
            )
        for part, n in (("validation", evaluator.n_fit), ("test", evaluator.n_test)):
            count = _count(world, part, n)
            if isinstance(world, SplitWorld):
                world.check_size(part, count)
    if isinstance(world, SplitWorld):
        for part in ("validation", "test"):
            world.check_size(part, config.run.evaluation.pictures)
    if (label := getattr(config.loss, "label", None)) is not None:
        require_choice("loss.label", label, world.roles)
        values = world.sample(2, generator(config.run.seed, Stream.INIT, 1)).factors[label]
        config.loss.check(values.shape[1], world.roles[label].classes)
    vocabulary = getattr(world, "vocabulary", None)
    backbones = getattr(config.encoder, "backbones", {})
    parts = {"encoder": config.encoder}
    parts |= {f"encoder.backbones.{view}": backbone for view, backbone in backbones.items()}
    if not set(world.views) <= set(backbones):  # else it is of no view
        parts["encoder.backbone"] = getattr(config.encoder, "backbone", None)
    for name, part in parts.items():
        size = getattr(part, "vocabulary_size", None)
        if vocabulary is not None and size is not None and len(vocabulary) > size:
            raise UserError(
                f"{name}.vocabulary_size={size}: must be > {len(vocabulary) - 1}, the largest number of a word of "
                "training"
            )


def _doubts(config: Train, world: World) -> Iterator[str]:
    """What is allowed, but hardly meant."""
    if slow := config.trainer.slow_precision:
        yield slow
    known = isinstance(world, StreamedWorld) and isinstance(world, Sized)
    if known and config.run.batch_size > (n := len(world)):
        yield (
            f"batch_size={config.run.batch_size}: more than the {n} training samples, so that every batch has some "
            f"twice, and a contrastive loss takes the copy for a negative; with batch_size={n} each has all once"
        )


def make_module(config: Train, world: World) -> ContrastiveModule:
    """Encoders and objective with their initial weights, a function of config and world alone."""
    seed = config.run.seed
    calibration = getattr(world, "calibration", CALIBRATION)
    views = world.sample(calibration, generator(seed, Stream.INIT, 1)).views
    encoders = config.encoder.build(views, generator(seed, Stream.INIT, 0))
    with torch.random.fork_rng(devices=[]):  # an objective may have weights of its own, a critic's
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator(seed, Stream.INIT, 2))))
        objective = config.loss.build()
    module = ContrastiveModule(
        encoders,
        objective,
        config.optimizer,
        config.trainer.max_steps,
        encode_rows=config.trainer.encode_rows,
        gradient_clip_val=config.trainer.gradient_clip_val,
        augmentation=config.augmentation,
        seed=seed,
    )
    if config.augmentation is not None:
        config.augmentation.check(views)
    return module.double() if config.trainer.precision is Precision.fp64 else module


def _fit(
    config: Train,
    run_dir: Path,
    world: World,
    start: int,
    watchers: tuple[list[Callback], list[Logger]],
    stop: Stop,
    processes: Processes,
) -> tuple[ContrastiveModule, pl.Trainer]:
    """Train from step ``start`` to the last, or to a wished-for stop. All processes call this alike.

    ``watchers``: callbacks and loggers of this process, which may not differ in what they do to the weights.
    """
    module = make_module(config, world)
    callbacks, loggers = watchers
    checkpoint = _checkpoint(run_dir)
    callbacks = [
        *callbacks,
        LogLoss(config.trainer.log_every_n_steps),
        Resumable(checkpoint, start, config.trainer.checkpoint_every_n_steps, stop, processes),
    ]
    trainer = config.trainer.build(run_dir, callbacks, loggers)
    data = StreamingDataModule(
        world,
        seed=config.run.seed,
        batch_size=config.run.batch_size,
        fresh=bool(getattr(module.objective, "needs_fresh_batch", False)),
        together=config.trainer.steps_per_execution,
    )
    if start == 0 and config.run.start_from is not None:
        begin_with(module.encoders, Path(config.run.start_from))
    with stop.listening():
        if start < config.trainer.max_steps:
            try:
                trainer.fit(
                    module,
                    datamodule=data,
                    ckpt_path=str(checkpoint) if start else None,
                    weights_only=True,
                )
            except SIGTERMException:  # it came while Lightning set up, before our handler was back
                stop.signal = stop.signal or signal.SIGTERM
        else:
            module.load_state_dict(tensors.load(checkpoint)["state_dict"])
    return module, trainer


def _train_weights(config: Train, run_dir: Path, world: World, manifest: Manifest, around: Around) -> None:
    """Train to the last step and save ``encoders.pt``, from the last checkpoint if there is one."""
    checkpoint = _checkpoint(run_dir)
    checkpoint.parent.mkdir(exist_ok=True)
    start = 0
    if checkpoint.exists():
        try:
            start = int(tensors.load(checkpoint)["global_step"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{checkpoint}: damaged ({error}); delete it, and the same command trains from the start"
            ) from None
    for doubt in _doubts(config, world):
        print(f"warning: {doubt}", file=sys.stderr)
    context = Context(run_dir, world, config.run.seed)
    loggers = around.loggers.start(start)
    callbacks = [c for c in (spec.build(context) for spec in config.callbacks.values()) if c is not None]
    heart = around.heart
    heart.begin("train", start, config.trainer.max_steps)
    stop = Stop()
    around.processes.tell({"world": world.state_dict(), "start": start})
    began = time.perf_counter()
    try:
        module, trainer = _fit(
            config, run_dir, world, start, ([*callbacks, Beat(heart)], loggers), stop, around.processes
        )
    finally:
        seconds = time.perf_counter() - began
        steps = heart.done
        with contextlib.suppress(OSError):  # a full disk has its own error, which must not be hidden
            manifest.update(
                train_s=round(manifest.values["train_s"] + seconds, 3),
                steps_done=steps,
                steps_per_s=round((steps - start) / seconds, 3),
                peak_memory_bytes=records.peak_memory_bytes(),
            )
    if steps < config.trainer.max_steps:
        if stop.signal is None:
            raise UserError(f"{run_dir}: training ended at step {steps} of {config.trainer.max_steps}")
        raise InterruptedRun(stop.signal, steps)
    state = {"encoders": module.encoders.state_dict(), "objective": module.objective.state_dict()}
    sha = tensors.save(
        run_dir / "encoders.pt",
        {part: {k: v.detach().cpu() for k, v in values.items()} for part, values in state.items()},
    )
    manifest.update(
        trained=True,
        encoders_sha256=sha,
        parameters=sum(p.numel() for p in module.parameters()),
        device=str(trainer.strategy.root_device),
    )
    if stop.signal is not None:  # it came with the last step
        raise InterruptedRun(stop.signal, steps)


def _evaluate(config: Train, run_dir: Path, manifest: Manifest, heart: Heartbeat, *, again: bool) -> bool:
    """Bring ``results.csv`` up to the config's evaluators; with ``again``, make all their rows anew.

    Returns whether there was anything to do.

    Rows of evaluators that the config does not name stay. Each evaluator's rows are on disk before the next begins.
    """
    path = run_dir / "results.csv"
    keys = evaluation_keys(config.resolved)
    table = _read_table(path)
    wanted = {
        name: spec
        for name, spec in config.evaluator.items()
        if again or not _is_current(name, keys[name], table, manifest)
    }
    # Asked for when there is something to record, and once.
    code = functools.cache(lambda: records.git_state(Path(__file__).parent))
    began = time.perf_counter()

    def keep(name: str, rows: list[Row]) -> None:
        nonlocal began
        table[name] = [
            {
                "run_key": manifest.values["run_key"],
                "seed": config.run.seed,
                "evaluation_key": keys[name],
                **dataclasses.asdict(row),
            }
            for row in rows
        ]
        write_csv(path, RESULT_COLUMNS, [row for part in table.values() for row in part])
        seconds = round(time.perf_counter() - began, 3)
        made = {"key": keys[name], "seconds": seconds, "git": code()}
        manifest.update(
            evaluations={**manifest.values["evaluations"], name: made},
            peak_memory_bytes=max(manifest.values.get("peak_memory_bytes", 0), records.peak_memory_bytes()),
        )
        began = time.perf_counter()

    if wanted:
        _run_evaluators(config, run_dir, manifest, wanted, keep, heart)
    n = config.run.evaluation.pictures
    drawn = {"samples": n, "encoders_sha256": manifest.values.get("encoders_sha256")}
    if n and (again or manifest.values.get("pictures") != drawn):
        _draw(config, run_dir, manifest)
        manifest.update(pictures=drawn)
    if not path.exists():
        write_csv(path, RESULT_COLUMNS, [])
    return bool(wanted)


def _read_table(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a ``results.csv`` by evaluator; none where there is no file yet."""
    table: dict[str, list[dict[str, Any]]] = {}
    for row in read_csv(path) if path.exists() else []:
        table.setdefault(row["evaluator"], []).append(row)
    return table


def _is_current(name: str, key: str, table: Mapping[str, list[dict[str, Any]]], manifest: Manifest) -> bool:
    """Whether the evaluator ``name`` has left the rows of the evaluation ``key``."""
    if name in table:
        return all(row["evaluation_key"] == key for row in table[name])
    # It may have had nothing to score (no discrete factors, say), which only the manifest tells.
    return bool(manifest.values["evaluations"].get(name, {}).get("key") == key)


def evaluation_device(accelerator: str) -> torch.device:
    """Where encodings are evaluated: a GPU if there is one and the run may use it. (Not mps, which has no float64.)"""
    allowed = accelerator in ("auto", "gpu", "cuda")
    return torch.device("cuda" if allowed and torch.cuda.is_available() else "cpu")


def _trained(config: Train, run_dir: Path, manifest: Manifest) -> tuple[World, ContrastiveModule]:
    """The world and the trained module, for evaluation, from the files of ``run_dir``."""
    world = _world(config, run_dir, manifest)
    module = make_module(config, world)
    state = read_weights(run_dir, manifest)
    try:
        module.encoders.load_state_dict(state["encoders"])
        module.objective.load_state_dict(state["objective"])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise unreadable(run_dir, error) from None
    return world, module.eval()


def _encode(module: ContrastiveModule) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda views: {name: z.float() for name, z in module.encoders(module.cast(views)).items()}


STREAMS = {"validation": Stream.VALIDATION, "test": Stream.TEST}


def _count(world: World, split: str, n: int | None) -> int:
    """``n``, or how many samples there are, of a world that is given."""
    if n is not None:
        return n
    if not isinstance(world, CountedWorld):
        raise UserError(
            "evaluation.n_fit and n_test: null takes all samples that are given, and these are drawn; set numbers"
        )
    return world.size(split)


def _sample(world: World, seed: int, n: int | None, split: str, intervention: str | None = None) -> Batch:
    """``n`` samples that evaluators are given; ``None``: all there are."""
    n = _count(world, split, n)
    source = part_of(world, split)
    return source.sample(n, generator(seed, STREAMS[split]), intervention=intervention)


def _information(world: World) -> dict[str, dict[str, float]]:
    """Representation -> factor -> the bits that its views tell at most, of a world of two views that knows."""
    source = part_of(world, "test")
    if not isinstance(source, KnownWorld) or len(source.views) != 2:
        return {}
    told = {factor: informations(law) for factor, law in source.laws().items()}
    first, second = source.views
    names = (first, second, f"{first}+{second}")
    return {name: {factor: bits[i] for factor, bits in told.items()} for i, name in enumerate(names)}


def _covariance(world: World) -> Tensor | None:
    """The covariance of the views of a Gaussian world."""
    source = part_of(world, "test")
    return source.covariance if isinstance(source, GaussianWorld) else None


def _draw(config: Train, run_dir: Path, manifest: Manifest) -> None:
    """Write the pictures that the config asks for."""
    from mmcl.visuals import draw_pictures  # matplotlib is not loaded where nothing is drawn

    n, seed = config.run.evaluation.pictures, config.run.seed
    world, module = _trained(config, run_dir, manifest)
    module.to(evaluation_device(config.trainer.accelerator))
    vocabulary = getattr(world, "vocabulary", None)
    similarity = getattr(config.loss, "similarity", None)
    with torch.no_grad():
        draw_pictures(
            run_dir / PICTURES,
            _sample(world, seed, n, "validation"),
            _sample(world, seed, n, "test"),
            world.roles,
            _encode(module),
            vocabulary.words if vocabulary else (),
            similarity.value if similarity else "cosine",
            getattr(config.loss, "lp_exponent", 2.0),
            Projected(module).temperature,
            getattr(world, "shown", lambda view, x: None),
        )


@torch.no_grad()
def _run_evaluators(
    config: Train,
    run_dir: Path,
    manifest: Manifest,
    evaluators: Mapping[str, Any],
    keep: Callable[[str, list[Row]], None],
    heart: Heartbeat,
) -> None:
    """Run ``evaluators`` on the files of ``run_dir`` alone, giving ``keep`` the rows of each as it ends."""
    world, module = _trained(config, run_dir, manifest)
    device = evaluation_device(config.trainer.accelerator)
    module.to(device)

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        transient=True,
    ) as progress:
        task = progress.add_task("evaluate")

        def show(done: int, total: int, what: str) -> None:
            if done == 0:
                heart.begin("evaluate", 0, total)
            heart.step(done)
            progress.update(task, completed=done, total=total, description=f"evaluate: {what}")

        run_evaluators(
            evaluators,
            _encode(module),
            functools.partial(_sample, world, config.run.seed),
            Projected(module),
            on_progress=show,
            on_rows=keep,
            references={**REFERENCES, "none": content_of(world)},
            device=device,
            project=module.projections,
            information=_information(world),
            covariance=_covariance(world),
            sampled=world.covariance if isinstance(world, FiniteWorld) else None,
        )
