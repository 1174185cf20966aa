"""A run from its config to its records: train (or resume), evaluate, and nothing twice."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmcl.config.schema import MANY, Train, validate_train
from mmcl.data import StreamingDataModule
from mmcl.errors import UserError
from mmcl.evaluators import Row, run_evaluators
from mmcl.random import Stream, generator
from mmcl.records import manifest as records
from mmcl.records import tensors
from mmcl.records.files import read_csv, write_bytes, write_csv
from mmcl.records.keys import evaluation_key
from mmcl.records.lock import locked
from mmcl.records.manifest import COMPLETED, INTERRUPTED, RUNNING, Manifest
from mmcl.training.callbacks import GuardDivergence, Resumable, Stop
from mmcl.training.context import Context
from mmcl.training.metrics import MetricsCSV
from mmcl.training.module import ContrastiveModule
from mmcl.worlds import World, world_hash

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


CALIBRATION = 16384
"""Samples that an encoder may set its first layer from: it is part of what a seed means."""


class InterruptedRun(Exception):
    """Training stopped early on a signal; the same command goes on from there."""

    def __init__(self, signal: int, step: int) -> None:
        super().__init__(f"stopped at step {step} by signal {signal}")
        self.signal = signal
        self.step = step


def train(config: Train, run_dir: Path, overrides: list[str], began: float | None = None) -> Manifest:
    """Bring the run in ``run_dir`` to its end, from wherever it stands.

    Args:
        config: the validated config.
        run_dir: the run's directory; made if it is not there.
        overrides: the command's overrides, for the record.
        began: ``time.time()`` when the process began, so that the recorded wall time has its imports in it.

    A finished run is left as it is, but for evaluators whose config changed. A run that stopped early goes on at its
    last checkpoint, and ends with the weights that an uninterrupted run would have, bitwise on one CPU.

    Raises:
        InterruptedRun: SIGINT or SIGTERM arrived.
        UserError, ValueError, OSError: with a message for people.
    """
    began = time.time() if began is None else began
    run_dir.mkdir(parents=True, exist_ok=True)
    with locked(run_dir):
        if config.run.force:
            _clear(run_dir)
        if config.trainer.threads is not None:
            torch.set_num_threads(config.trainer.threads)
        manifest = Manifest.read(run_dir)
        if manifest is None:
            manifest = Manifest(
                run_dir,
                {
                    "schema_version": records.SCHEMA_VERSION,
                    "run_key": config.run_key,
                    "name": config.run.name,
                    "seed": config.run.seed,
                    "started": records.now(),
                    "attempts": 0,
                    "trained": False,
                    "timings_s": {"train": 0.0, "evaluate": 0.0},
                },
            )
        done = manifest.values.get("status") == COMPLETED
        write_bytes(run_dir / "config.yaml", yaml.safe_dump(config.resolved, sort_keys=False).encode())
        if not done:
            manifest.update(
                status=RUNNING,
                overrides=overrides,
                attempts=manifest.values["attempts"] + 1,
                error=None,
                versions=records.versions(),
                git=records.git_state(Path(__file__).parent),
                threads=torch.get_num_threads(),
            )
        world = _world(config, run_dir, manifest)
        if not manifest.values["trained"]:
            _fit(config, run_dir, world, manifest)
        _evaluate(config, run_dir, manifest, keep_current=True)
        if not done:
            # Of this attempt; an interrupted run's earlier ones are in timings_s.
            manifest.update(status=COMPLETED, ended=records.now(), wall_s=round(time.time() - began, 1))
    return manifest


def evaluate(run_dir: Path, evaluator: Any | None) -> tuple[Train, Manifest]:
    """Evaluate a trained run again, from its directory alone.

    Args:
        run_dir: the run's directory.
        evaluator: evaluators to use instead of those in the run's config; they may refer to its keys.

    Raises:
        UserError: no such run, or one whose training has not ended.
        ValueError: a file of the run is damaged or was changed.
    """
    manifest = Manifest.read(run_dir) if run_dir.is_dir() else None
    if manifest is None:
        raise UserError(
            f"run_dir={run_dir}: no run there (no manifest.json); name a folder such as runs/EXPERIMENT/KEY"
        )
    config = read_config(run_dir)
    if evaluator is not None:
        config = validate_train(OmegaConf.create({**config.resolved, "evaluator": evaluator}))
    if not manifest.values["trained"]:
        raise UserError(
            f"run_dir={run_dir}: its training has not ended (status {manifest.status}); "
            "run its train command again to finish it"
        )
    if config.trainer.threads is not None:
        torch.set_num_threads(config.trainer.threads)
    with locked(run_dir):
        _evaluate(config, run_dir, manifest, keep_current=False)
    return config, manifest


def read_config(run_dir: Path) -> Train:
    """The validated config that a run directory holds."""
    path = run_dir / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; copy the whole run directory") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a config")
    try:
        return validate_train({**values, **{group: values.get(group) or {} for group in MANY}})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _clear(run_dir: Path) -> None:
    """Forget what stands in ``run_dir``, but for the lock that this process holds."""
    for path in run_dir.iterdir():
        if path.name == ".lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _world(config: Train, run_dir: Path, manifest: Manifest) -> World:
    """The run's world: drawn and saved the first time, loaded ever after."""
    path = run_dir / "world.pt"
    if "world_sha256" not in manifest.values:
        world: World = config.data.draw(generator(config.run.seed, Stream.WORLD))
        state = world.state_dict()
        tensors.save(path, state)
        manifest.update(world_sha256=world_hash(state))
    remedy = "copy the file of the original run, or train again with force=true"
    try:
        state = tensors.load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {remedy}") from None
    except ValueError as error:
        raise UserError(f"{error}; {remedy}") from None
    if not isinstance(state, dict) or world_hash(state) != manifest.values["world_sha256"]:
        raise UserError(f"{path}: is not the world that this run was trained in (its hash differs); {remedy}")
    restored: World = config.data.restore(state)
    return restored


def make_module(config: Train, world: World) -> ContrastiveModule:
    """Encoders and objective with their initial weights, a function of config and world alone."""
    seed = config.run.seed
    views = world.sample(CALIBRATION, generator(seed, Stream.INIT, 1)).views
    encoders = config.encoder.build(views, generator(seed, Stream.INIT, 0))
    return ContrastiveModule(encoders, config.loss.build(), config.optimizer, config.trainer.max_steps)


def _fit(config: Train, run_dir: Path, world: World, manifest: Manifest) -> None:
    """Train to the last step and save ``encoders.pt``, from the last checkpoint if there is one."""
    module = make_module(config, world)
    checkpoint = run_dir / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(exist_ok=True)
    start = 0
    if checkpoint.exists():
        try:
            start = int(tensors.load(checkpoint)["global_step"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{checkpoint}: damaged ({error}); delete it, and the same command trains from the start"
            ) from None
    context = Context(run_dir, world, config.run.seed)
    loggers = [spec.build(context) for spec in config.logger.values()]
    for logger in loggers:
        if isinstance(logger, MetricsCSV):
            logger.resume(start)
    stop = Stop()
    callbacks = [
        *(c for c in (spec.build(context) for spec in config.callbacks.values()) if c is not None),
        GuardDivergence(config.trainer.log_every_n_steps),
        Resumable(checkpoint, config.trainer.checkpoint_every_n_steps, stop),
    ]
    trainer = config.trainer.build(run_dir, callbacks, loggers)
    data = StreamingDataModule(
        world,
        seed=config.run.seed,
        batch_size=config.run.batch_size,
        fresh=bool(getattr(module.objective, "needs_fresh_batch", False)),
    )
    began = time.perf_counter()
    try:
        with stop.listening():
            if start < config.trainer.max_steps:
                trainer.fit(
                    module,
                    datamodule=data,
                    ckpt_path=str(checkpoint) if start else None,
                    weights_only=True,
                )
            else:
                module.load_state_dict(tensors.load(checkpoint)["state_dict"])
    finally:
        seconds = time.perf_counter() - began
        steps = trainer.global_step or start
        timings = manifest.values["timings_s"]
        manifest.update(
            timings_s={**timings, "train": round(timings["train"] + seconds, 3)},
            steps_done=steps,
            steps_per_s=round((steps - start) / seconds, 3) if seconds > 0 else None,
            peak_memory_bytes=records.peak_memory_bytes(),
        )
    if steps < config.trainer.max_steps:
        if stop.signal is None:
            raise UserError(f"{run_dir}: training ended at step {steps} of {config.trainer.max_steps}")
        manifest.update(status=INTERRUPTED, error=f"signal {stop.signal} at step {steps}")
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


def _evaluate(config: Train, run_dir: Path, manifest: Manifest, *, keep_current: bool) -> None:
    """Write ``results.csv``: rows of every evaluator; with ``keep_current``, made anew only where its key changed."""
    path = run_dir / "results.csv"
    keys = {name: evaluation_key(node) for name, node in config.resolved["evaluator"].items()}
    kept: list[dict[str, Any]] = []
    if keep_current and path.exists():
        kept = [r for r in read_csv(path) if keys.get(r["evaluator"]) == r["evaluation_key"]]
    present = {row["evaluator"] for row in kept}
    # An evaluator may have no rows here (no discrete factors, say): what was evaluated stands in the manifest.
    if keep_current:
        done = manifest.values.get("evaluations", {})
        present |= {name for name, key in keys.items() if done.get(name) == key and path.exists()}
    missing = {name: spec for name, spec in config.evaluator.items() if name not in present}
    if not missing and path.exists():
        return
    began = time.perf_counter()
    rows = _rows(config, run_dir, manifest, missing)
    fresh = [
        {
            "run_key": manifest.values["run_key"],
            "seed": config.run.seed,
            "evaluation_key": keys[row.evaluator],
            **dataclasses.asdict(row),
        }
        for row in rows
    ]
    order = list(config.evaluator)
    write_csv(
        path,
        RESULT_COLUMNS,
        sorted([*kept, *fresh], key=lambda r: order.index(r["evaluator"])),
    )
    timings = manifest.values["timings_s"]
    manifest.update(
        evaluations=keys,
        timings_s={**timings, "evaluate": round(time.perf_counter() - began, 3)},
        peak_memory_bytes=max(manifest.values.get("peak_memory_bytes", 0), records.peak_memory_bytes()),
    )


@torch.no_grad()
def _rows(config: Train, run_dir: Path, manifest: Manifest, evaluators: Mapping[str, Any]) -> list[Row]:
    """Rows of ``evaluators``, from the files of ``run_dir`` alone."""
    world = _world(config, run_dir, manifest)
    module = make_module(config, world)
    path = run_dir / "encoders.pt"
    remedy = "copy the file of the original run, or train again with force=true"
    try:
        state = tensors.load(path)
        module.encoders.load_state_dict(state["encoders"])
        module.objective.load_state_dict(state["objective"])
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {remedy}") from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{path}: damaged or of another encoder ({str(error).splitlines()[0]}); {remedy}"
        ) from None
    module.eval()
    streams = {"validation": Stream.VALIDATION, "test": Stream.TEST}

    def sample(n: int, split: str, intervention: str | None) -> Any:
        random = generator(config.run.seed, streams[split])
        return world.sample(n, random, intervention=intervention)

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        transient=True,
    ) as progress:
        task = progress.add_task("evaluate")

        def show(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, description=f"evaluate: {what}")

        return run_evaluators(evaluators, module.encoders, sample, module.objective, on_progress=show)
