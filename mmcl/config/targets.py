"""Which code a config may name, and what its node may hold.

A node ``{_target_: package.Class, key: value, ...}`` is checked against the class it names: a dataclass gives the
keys, their types, enums and (in ``__post_init__``) their ranges. So a component's schema stands beside its code,
and adding one needs no registration.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmcl.errors import UserError

ALLOWED: dict[str, tuple[str, ...]] = {
    "data": ("mmcl.worlds.", "mmcl.data."),
    "encoder": ("mmcl.encoders.",),
    "loss": ("mmcl.losses.",),
    "augmentation": ("mmcl.augmentations.",),
    "evaluator": ("mmcl.evaluators.",),
    "optimizer": ("mmcl.training.optimizers.",),
    "trainer": ("mmcl.training.trainer.",),
    "callbacks": ("mmcl.training.", "lightning.pytorch.callbacks."),
    "logger": ("mmcl.training.", "lightning.pytorch.loggers."),
}
"""What a ``_target_`` may begin with, for each group. A config, perhaps somebody else's, must not run just any code."""


MANY = ("evaluator", "callbacks", "logger")
"""Groups of which a run has any number, by name."""


def resolve_target(target: Any, key: str) -> type:
    """The class that ``_target_`` names.

    Raises:
        UserError: outside its group's allow-list, by name or by where the object really lives; not there; no class.
    """
    allowed = ALLOWED[key.partition(".")[0]]
    refusal = (
        f"{key}._target_={target}: refused; allowed are classes in {', '.join(p + '*' for p in allowed)}"
    )
    if not isinstance(target, str) or not target.startswith(allowed):
        raise UserError(refusal)
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{key}._target_={target}: not found ({error}); name a class, as module.Class"
        ) from None
    # mmcl.some_module.os would pass by name: what counts is where the object is defined.
    homes = tuple(prefix if prefix.startswith("mmcl.") else "lightning." for prefix in allowed)
    if not isinstance(found, type) or not f"{found.__module__}.".startswith(homes):
        raise UserError(refusal)
    return found


def unknown_key(path: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a key that is not there, with the nearest and all allowed ones."""
    where = f"{path}.{name}" if path else name
    return UserError(f"{where}: unknown key; {_suggest(name, known)}")


def unknown_choice(group: str, name: str, choices: Iterable[str]) -> UserError:
    """The error for an option that a config group does not have."""
    return UserError(f"{group}={name}: unknown choice; {_suggest(name, choices)}")


def _suggest(name: str, known: Iterable[str]) -> str:
    known = sorted(k for k in known if not k.startswith("_"))
    near = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"allowed: {', '.join(known) or 'none'}"


def to_spec(node: Any, key: str) -> Any:
    """The validated dataclass instance that ``node`` describes; ``key`` is its place in the config.

    Raises:
        UserError: naming the key, the value and what is allowed.
    """
    if not isinstance(node, Mapping | DictConfig) or "_target_" not in node:
        group, _, name = key.partition(".")
        remedy = f"name its class: {key}._target_=..."
        if not name or group in MANY:
            choice = f"{group}=[{name}]" if name else f"{group}=NAME"
            remedy = f"choose a config, such as {choice}, or name its class"
        raise UserError(f"{key}: has no _target_; {remedy}")
    cls = resolve_target(node["_target_"], key)
    values = {str(k): v for k, v in node.items() if k != "_target_"}
    if dataclasses.is_dataclass(cls):
        return structured(cls, values, key)
    return External.of(node["_target_"], cls, values, key)


@dataclasses.dataclass(frozen=True)
class External:
    """A class of a library, with keyword arguments checked against its signature."""

    target: str
    arguments: dict[str, Any]

    @classmethod
    def of(cls, target: str, found: type, arguments: dict[str, Any], key: str) -> External:
        if not target.startswith("lightning."):
            raise UserError(
                f"{key}._target_={target}: not a config class; name a dataclass with a build method"
            )
        parameters = inspect.signature(found).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for name in arguments:
                if name not in parameters:
                    raise unknown_key(key, name, parameters)
        if _names_code(arguments):
            raise UserError(f"{key}: a _target_ inside another's arguments is refused; give plain values")
        return cls(target, arguments)

    def build(self, *_: Any) -> Any:
        return instantiate({"_target_": self.target, **self.arguments}, _convert_="all", _recursive_=False)


def _names_code(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(str(k).startswith("_") or _names_code(v) for k, v in value.items())
    return isinstance(value, list | tuple) and any(_names_code(v) for v in value)


def structured(cls: type, values: Mapping[str, Any], key: str) -> Any:
    """An instance of dataclass ``cls`` from plain ``values``, with types and ranges checked.

    A field annotated ``Any`` or ``dict[str, Any]`` may hold parts: nodes with a ``_target_`` of their own, of the same
    group.
    """
    fields = {f.name for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            raise unknown_key(key, str(name), fields)
    parts = {name: _parts(values[name], f"{key}.{name}") for name in _part_fields(cls) if values.get(name)}
    hints = typing.get_type_hints(cls)
    values = {name: _floats(value, hints[name]) for name, value in values.items() if name not in parts}
    try:
        schema = _writable(OmegaConf.structured(cls))
    except (OmegaConfBaseException, ValueError) as error:  # such as a class that holds tensors
        raise UserError(f"{key}: {cls.__name__} is no config class ({str(error).splitlines()[0]})") from None
    try:
        merged = OmegaConf.merge(schema, OmegaConf.create(values))
        rest = {name: merged[name] for name in fields - parts.keys()}
        rest = {n: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for n, v in rest.items()}
        spec = cls(**rest, **parts)
    except OmegaConfBaseException as error:
        raise UserError(_type_message(error, schema, key, cls)) from None
    except ValueError as error:
        raise UserError(f"{key}.{error}" if key else str(error)) from None
    return spec


def _floats(value: Any, hint: Any) -> Any:
    """``value`` with whole numbers as floats where ``hint`` wants these; OmegaConf does so one list deep alone.

    >>> _floats([[2, 1], [1, 2]], list[list[float]] | None)
    [[2.0, 1.0], [1.0, 2.0]]
    """
    if isinstance(value, list):
        of = [
            a
            for option in (hint, *typing.get_args(hint))
            if typing.get_origin(option) is list
            for a in typing.get_args(option)
        ]
        return [_floats(item, of[0]) for item in value] if of else value
    return float(value) if hint is float and type(value) is int else value


def _part_fields(cls: type) -> list[str]:
    """The fields of dataclass ``cls`` that may hold parts."""
    hints = typing.get_type_hints(cls)
    return [f.name for f in dataclasses.fields(cls) if hints[f.name] in (Any, dict[str, Any])]


def _parts(node: Any, key: str) -> Any:
    """A part, or parts by name."""
    if isinstance(node, Mapping) and "_target_" not in node:
        return {str(name): to_spec(part, f"{key}.{name}") for name, part in node.items() if part is not None}
    return to_spec(node, key)


def _writable(node: DictConfig) -> DictConfig:
    """``node`` without the read-only flags that OmegaConf puts on frozen dataclasses, nested ones too."""
    OmegaConf.set_readonly(node, None)
    for key in node:
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            _writable(node[key])
    return node


def _type_message(error: OmegaConfBaseException, schema: DictConfig, key: str, cls: type) -> str:
    where = ".".join(part for part in (key, str(error.full_key or "")) if part)
    cause = str(error).splitlines()[0]
    nested = error.full_key or ""
    if nested and "not in" in cause:
        inside = [
            f
            for f in dataclasses.fields(cls)
            if typing.get_type_hints(cls)[f.name] == list[error.object_type]
        ]
        if inside:  # OmegaConf gives an item's place within the item alone
            known = [f.name for f in dataclasses.fields(error.object_type)]
            return str(unknown_key(f"{key}.{inside[0].name}", str(nested), known))
        parent, _, name = str(nested).rpartition(".")
        node = OmegaConf.select(schema, parent) if parent else schema
        return str(unknown_key(".".join(p for p in (key, parent) if p), name, [str(k) for k in node]))
    return f"{where}: {cause}"


def plain(spec: Any) -> Any:
    """A spec as builtins, every default included: what is printed is what runs."""
    if isinstance(spec, External):
        return dict(spec.arguments)
    values = OmegaConf.to_container(OmegaConf.structured(spec), resolve=True, enum_to_str=True)
    assert isinstance(values, dict)
    return values | {name: _plain_parts(getattr(spec, name)) for name in _part_fields(type(spec))}


def _plain_parts(part: Any) -> Any:
    if part is None:
        return None
    if isinstance(part, dict):
        return {name: _plain_parts(p) for name, p in part.items()}
    return {"_target_": _public_name(type(part)), **plain(part)}


def _public_name(cls: type) -> str:
    """The name by which the class's package gives it, whichever of its files defines it: a run is known by it."""
    package, name = cls.__module__.rpartition(".")[0], cls.__qualname__
    public = getattr(importlib.import_module(package), name, None) is cls
    return f"{package if public else cls.__module__}.{name}"
