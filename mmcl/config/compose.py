"""Composing configs from command lines, for single runs and whole sweeps, with errors in one line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmcl.config.targets import ALLOWED, unknown_choice, unknown_key
from mmcl.errors import UserError

CONF = Path(__file__).resolve().parents[2] / "conf"

JOB_PARTS = (*(group for group in ALLOWED if group != "trainer"), "method")
"""Groups of which Hydra's own node knows nothing; a launcher asks for the trainer's devices."""


def compose_one(name: str, overrides: Sequence[str]) -> DictConfig:
    """The config ``name`` with ``overrides``; Hydra's own node is left out.

    Raises:
        UserError: Hydra cannot compose it.
    """
    return _compose(name, [o for o in overrides if not o.lstrip("+~").startswith("hydra")])


@dataclass(frozen=True)
class HydraNode:
    """What Hydra's own node says of a sweep.

    ``launcher``: its class's name; ``tasks``: processes that it starts for a job; ``n_jobs``: joblib's; ``params``: the
    sweep's grid from the config, as overrides.
    """

    launcher: str
    tasks: int
    n_jobs: int
    params: list[str]

    @property
    def submits(self) -> bool:
        """Whether jobs run later, from a queue."""
        return self.launcher == "SlurmLauncher"


def compose_hydra(name: str, overrides: Sequence[str]) -> HydraNode:
    """What Hydra will do with a sweep.

    Raises:
        UserError: Hydra cannot compose it.
    """
    with _grammar(overrides):
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    plain = [
        text
        for text, one in zip(overrides, parsed, strict=True)
        if not one.is_sweep_override() and not of_jobs(text)
    ]
    node = _compose(name, plain, return_hydra_config=True).hydra
    launcher = node.launcher
    return HydraNode(
        launcher=str(launcher._target_).rpartition(".")[2],
        tasks=int(launcher.get("tasks_per_node") or 1) * int(launcher.get("nodes") or 1),
        n_jobs=int(launcher.get("n_jobs") or -1),
        params=[f"{key}={value}" for key, value in (node.sweeper.get("params") or {}).items()],
    )


def _compose(name: str, overrides: Sequence[str], return_hydra_config: bool = False) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose(name, list(overrides), return_hydra_config=return_hydra_config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise _for_people(name, overrides, error) from None
    finally:
        GlobalHydra.instance().clear()


def of_jobs(argument: str) -> bool:
    """Whether an argument of a sweep's command changes a part of its jobs, of which Hydra's own node knows nothing.

    Before there are jobs Hydra composes a config of all that has one value. There an experiment with several values, or
    one that a sweep names, has brought nothing yet that ``method=comm`` or ``data.n=2000`` could change: leave it out.

    >>> [of_jobs(x) for x in ("method=comm", "~loss.terms", "+data.n=5", "encoder/fusion=mlp", "data@data.x=digits")]
    [True, True, True, True, True]
    >>> [of_jobs(x) for x in ("seed=0", "trainer.devices=2", "hydra/launcher=slurm", "-m", "sweep=smoke")]
    [False, False, False, False, False]
    """
    return re.split(r"\W", argument.lstrip("+~"), maxsplit=1)[0] in JOB_PARTS


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep: the product of every override's choices, as Hydra's basic sweeper makes them.

    Raises:
        UserError: an override that does not parse.
    """
    parser = OverridesParser.create()
    with _grammar(overrides):
        parsed = parser.parse_overrides(list(overrides))
        # hydra.* overrides set the launcher and folders, not the jobs; Hydra checks them itself.
        jobs = [o for o in parsed if not o.get_key_element().lstrip("+~").startswith("hydra")]
        return [job for batch in BasicSweeper.split_arguments(jobs, max_batch_size=None) for job in batch]


@contextlib.contextmanager
def _grammar(overrides: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except HydraException as error:
        grammar = "https://hydra.cc/docs/advanced/override_grammar/basic"
        raise UserError(
            f"overrides {' '.join(overrides)!r}: do not parse as KEY=VALUE or a list of values "
            f"({_one_line(str(error))}); see {grammar}"
        ) from None


def _for_people(name: str, overrides: Sequence[str], error: Exception) -> UserError:
    text = str(error)
    found = re.search(r"Could not (?:override|delete from config\.) '([^']+)'", text)
    if found:
        # Compose without the override that failed, to see which keys stand where it points.
        others = [o for o in overrides if not re.match(rf"[+~]*{re.escape(found[1])}(=|$)", o)]
        if len(others) < len(overrides):
            path, _, key = found[1].rpartition(".")
            config = _compose(name, others)
            while path and OmegaConf.select(config, path) is None:
                path, _, key = path.rpartition(".")
            node = OmegaConf.select(config, path) if path else config
            if isinstance(node, DictConfig) and key not in node:
                return unknown_key(path, key, [str(k) for k in node])
    missing = re.search(r"Could not (?:load|find) '([\w/]+)/([^'/]+)'", text)
    if missing:
        group = CONF / missing[1]
        choices = sorted(str(p.relative_to(group).with_suffix("")) for p in group.rglob("*.yaml"))
        return unknown_choice(missing[1], missing[2], choices)
    if isinstance(error, ValueError):  # Hydra's own parsing of group choices
        text = f"overrides {' '.join(overrides)!r}: {text}"
    return UserError(_one_line(text))


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(("See https", "Set the", "^")))
