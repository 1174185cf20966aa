"""What a whole config holds, checked before any work.

``train.yaml`` and ``evaluate.yaml`` compose into plain mappings; :func:`validate_train` turns one into specs, one for
each group, and back into a resolved config in which every default is written out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmcl.checks import require
from mmcl.config.targets import MANY, plain, structured, to_spec, unknown_key
from mmcl.errors import UserError
from mmcl.records.keys import DIGITS, foreign_callbacks, run_key

SINGLE = ("data", "encoder", "loss", "optimizer", "trainer")
"""Groups of which a run has one."""

OPTIONAL = ("augmentation",)
"""Groups of which a run has one or none; without one, its config does not speak of it."""


@dataclass(frozen=True)
class Evaluation:
    """Sample sizes that the evaluators refer to.

    Args:
        n_fit: fresh samples that fit a predictor, >= 2; ``None``: all that are given for it.
        n_test: samples that score it, likewise.
        n_intervention: both of these for evaluators under an intervention, >= 2.
        pictures: validation and test samples, each, that the run's pictures are drawn from, >= 32; 0: none are drawn.
    """

    n_fit: int | None = 20480
    n_test: int | None = 20480
    n_intervention: int = 20480
    pictures: int = 0

    def __post_init__(self) -> None:
        for name in ("n_fit", "n_test", "n_intervention"):
            value = getattr(self, name)
            require(value is None or value >= 2, f"evaluation.{name}", value, ">= 2")
        pictures = self.pictures
        require(pictures == 0 or pictures >= 32, "evaluation.pictures", pictures, ">= 32, or 0 for none")


@dataclass(frozen=True)
class Run:
    """The keys of ``train.yaml`` that belong to no group.

    Args:
        name: the experiment's name: the folder under ``runs/``.
        method: what a choice of ``method`` is called in tables; it decides nothing.
        seed: >= 0. The one dial of randomness.
        batch_size: samples in the global batch, K >= 2; all others are a sample's negatives.
        start_from: folder of a finished run whose encoders this one begins with; ``None``: random weights.
        force: train again although a finished run stands there.
        output: folder of single runs.
        evaluation: sample sizes.
    """

    name: str = "numerical"
    method: str | None = None
    seed: int = 0
    batch_size: int = 6144
    start_from: str | None = None
    force: bool = False
    output: str = "runs"
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        if self.start_from is not None:
            # The run key knows it by that name alone, wherever it lies.
            good = re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", PurePath(self.start_from).name) is not None
            require(good, "start_from", self.start_from, "a run's own folder, such as runs/EXPERIMENT/KEY")
        require(self.batch_size >= 2, "batch_size", self.batch_size, ">= 2: a sample needs a negative")
        for name in ("name", "output"):
            value = getattr(self, name)
            require(bool(value.strip()), name, value, "a folder's name")
        inside = not self.name.startswith("/") and ".." not in self.name.split("/")
        require(inside, "name", self.name, "a relative path without '..'")


@dataclass(frozen=True)
class Train:
    """A validated config: a spec for everything that it builds."""

    run: Run
    data: Any
    encoder: Any
    loss: Any
    optimizer: Any
    trainer: Any
    evaluator: dict[str, Any]
    callbacks: dict[str, Any]
    logger: dict[str, Any]
    augmentation: Any = None
    resolved: dict[str, Any] = field(default_factory=dict)

    @property
    def run_key(self) -> str:
        return run_key(self.resolved)


def container(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """``config`` as builtins with interpolations resolved."""
    try:
        values = OmegaConf.to_container(
            config if isinstance(config, DictConfig) else OmegaConf.create(dict(config)),
            resolve=True,
            throw_on_missing=True,
        )
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from None
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}


def validate_train(config: DictConfig | Mapping[str, Any]) -> Train:
    """Check every key, type, choice and range of a composed ``train`` config.

    Raises:
        UserError: for the first fault found: the key, the value, and what is allowed.
    """
    values = container(config)
    known = {*SINGLE, *OPTIONAL, *MANY, *(f for f in Run.__dataclass_fields__)}
    for key in values:
        if key not in known:
            raise unknown_key("", key, known)
    run = structured(Run, {k: v for k, v in values.items() if k in Run.__dataclass_fields__}, "")
    single: dict[str, Any] = {}
    for group in SINGLE:
        if values.get(group) is None:
            raise UserError(f"{group}: missing; choose one with {group}=NAME")
        single[group] = to_spec(values[group], group)
    optional = {group: to_spec(values[group], group) for group in OPTIONAL if values.get(group) is not None}
    many = {group: to_specs(values.get(group), group) for group in MANY}
    _check_together(single["loss"], many["evaluator"])
    _check_draws(single["loss"], many["evaluator"], optional.get("augmentation"))
    _check_exact(single["loss"], single["encoder"], many["evaluator"])
    _check_callbacks(single["trainer"], foreign_callbacks(values))
    _check_shares(run.batch_size, getattr(single["trainer"], "processes", 1))
    ones = single | optional
    targets = {group: values[group]["_target_"] for group in ones}
    resolved = {
        **plain(run),
        **{group: {"_target_": targets[group], **plain(spec)} for group, spec in ones.items()},
        **{
            group: {
                name: {"_target_": values[group][name]["_target_"], **plain(spec)}
                for name, spec in many[group].items()
            }
            for group in MANY
        },
    }
    return Train(run, **single, **many, **optional, resolved=resolved)


def _check_together(loss: Any, evaluators: Mapping[str, Any]) -> None:
    """Rules that no component can check alone."""
    if not getattr(loss.build(), "needs_fresh_batch", False):
        return
    for name, evaluator in evaluators.items():
        batch = getattr(evaluator, "batch_size", None)
        sizes = [n for n in (evaluator.n_fit, evaluator.n_test) if n is not None]
        if batch is not None and sizes and min(sizes) < 2 * batch:
            raise UserError(
                f"evaluator.{name}: n_fit={evaluator.n_fit} and n_test={evaluator.n_test}: must be >= 2 x "
                f"batch_size={batch} with a loss whose negatives come from a fresh batch"
            )


PLAIN = {
    "learned_temperature": False,
    "positive_in_denominator": True,
    "alignment_weight": 1.0,
    "norm_penalty": 0.0,
    "terms": [],
}
"""What of a contrastive loss the exact optima of ``mmcl.theory`` are for, beside ``negatives=cross``."""


def _check_exact(loss: Any, encoder: Any, evaluators: Mapping[str, Any]) -> None:
    """An evaluator that computes a loss's exact optimum is for linear encoders and losses of which that is known."""
    for name, evaluator in evaluators.items():
        if not getattr(evaluator, "exact_of_loss", False):
            continue
        if not getattr(encoder, "linear", False):
            raise UserError(
                f"evaluator.{name}: is of linear encoders, encoder=linear; leave {name} out of evaluator=[...], or "
                "take conditional_moments instead, of any encoders"
            )
        negatives = getattr(getattr(loss, "negatives", None), "name", None)
        if negatives != "cross":
            raise UserError(
                f"evaluator.{name}: knows the optimum of contrastive losses with negatives=cross alone; leave {name} "
                "out of evaluator=[...]"
            )
        for field_name, value in PLAIN.items():
            found = getattr(loss, field_name)
            if found != value:
                raise UserError(
                    f"evaluator.{name}: knows the optimum of losses with {field_name}={value}, and loss.{field_name}="
                    f"{found}; leave {name} out of evaluator=[...]"
                )


def _check_draws(loss: Any, evaluators: Mapping[str, Any], augmentation: Any) -> None:
    """An objective of augmented draws needs an augmentation, and cannot be computed from samples as they are."""
    drawn = [draw for draw in getattr(loss, "draws", ()) if draw]
    if drawn and augmentation is None:
        raise UserError(
            f"loss: compares augmented draws {', '.join(map(str, drawn))}, and there is no augmentation; choose one "
            "with augmentation=NAME"
        )
    label = getattr(loss, "label", None)
    for name, evaluator in evaluators.items():
        if not getattr(evaluator, "needs_objective", False):
            continue
        if label is not None:
            raise UserError(
                f"evaluator.{name}: computes the objective of encodings alone, and the loss is told the label "
                f"{label!r}; leave {name} out of evaluator=[...]"
            )
        if getattr(loss, "needs_views", False):
            raise UserError(
                f"evaluator.{name}: computes the objective of encodings alone, and the loss compares views too; leave "
                f"{name} out of evaluator=[...]"
            )
        if drawn:
            raise UserError(
                f"evaluator.{name}: computes the objective of samples as they are, and the loss compares augmented "
                f"draws; leave {name} out of evaluator=[...]"
            )


def _check_shares(batch_size: int, processes: int) -> None:
    if batch_size % processes:
        raise UserError(
            f"batch_size={batch_size}: must be divisible by the number of devices, {processes} (trainer.devices x "
            "trainer.num_nodes), each of which takes its share of the rows"
        )


def _check_callbacks(trainer: Any, foreign: Mapping[str, Any]) -> None:
    """Lightning's own callbacks take each return to its loop for one step; some change the weights then."""
    together = getattr(trainer, "steps_per_execution", 1)
    if together > 1 and foreign:
        name, node = next(iter(foreign.items()))
        raise UserError(
            f"trainer.steps_per_execution={together}: must be 1 with callbacks.{name} ({node['_target_']}), "
            "which takes each return to Lightning's loop for one step"
        )


def to_specs(nodes: Any, group: str) -> dict[str, Any]:
    """The specs of a group of which a run has any number."""
    if nodes is None:
        return {}
    if not isinstance(nodes, Mapping):
        raise UserError(
            f"{group}={nodes!r}: must be a mapping of named entries; choose with {group}=[NAME,...]"
        )
    return {str(name): to_spec(node, f"{group}.{name}") for name, node in nodes.items() if node is not None}


def validate_evaluate(config: DictConfig) -> tuple[str, Any | None]:
    """The run directory and the evaluators (``None``: those of the run) of a composed ``evaluate`` config.

    Evaluators may refer to keys of the run, such as ``${batch_size}``, so they are checked with it, later.

    Raises:
        UserError: an unknown key, or no ``run_dir``.
    """
    known = ("run_dir", "evaluator")
    for key in config:
        if key not in known:
            raise unknown_key("", str(key), known)
    if OmegaConf.is_missing(config, "run_dir") or config["run_dir"] is None:
        raise UserError("run_dir: missing; name a run directory with run_dir=runs/EXPERIMENT/KEY")
    evaluator = OmegaConf.to_container(config["evaluator"]) if config.get("evaluator") is not None else None
    return str(config["run_dir"]), evaluator
