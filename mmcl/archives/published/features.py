"""MM-IMDb and Hateful Memes, by the features that frozen models made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmcl.archives.arrays import THERE
from mmcl.archives.published.common import (
    Options,
    Split,
    entry,
    finite,
    open_numpy,
    read_hdf5,
    read_json,
    shaped,
)
from mmcl.errors import UserError

GENRES = (
    "Action", "Adventure", "Animation", "Biography", "Comedy", "Crime", "Documentary", "Drama", "Family", "Fantasy",
    "Film-Noir", "History", "Horror", "Music", "Musical", "Mystery", "Romance", "Sci-Fi", "Short", "Sport", "Thriller",
    "War", "Western",
)  # fmt: skip
"""Of MM-IMDb; others that its films have are left out, as published."""


def mm_imdb(source: Path, options: Options) -> dict[str, Split]:
    """The raw folder (``split.json``, ``dataset/ID.json``) with features of frozen models from files, or MultiBench's
    ``multimodal_imdb.hdf5`` with its own (word2vec and VGG). Labels ``(n, 23)``: whether a film is of each genre."""
    if source.is_dir():
        ids = read_json(source / "split.json")
        splits = {"train": "train", "dev": "validation", "test": "test"}
        if not isinstance(ids, dict) or not all(isinstance(ids.get(split), list) for split in splits):
            raise UserError(f"{source / 'split.json'}: must have train, dev and test, lists of ids")
        labels = {}
        for theirs, ours in splits.items():
            films = [_genres(source / "dataset" / f"{name}.json") for name in ids[theirs]]
            labels[ours] = np.array([[g in film for g in GENRES] for film in films], dtype=np.int64)
        numbers = {ours: list(map(str, ids[theirs])) for theirs, ours in splits.items()}
        return _with_features(source, numbers, labels, options)
    table = read_hdf5(source, ("features", "vgg_features", "genres"))
    n = len(table["genres"])
    text = shaped(table["features"], (n, 300), f"{source}, features")
    image = shaped(table["vgg_features"], (n, 4096), f"{source}, vgg_features")
    genres = finite(shaped(table["genres"], (n, len(GENRES)), f"{source}, genres"), f"{source}, genres")
    # In the file's order: 15,552 for training, 2,608 for validation.
    ends = [round(n * share) for share in (15_552 / 25_959, 18_160 / 25_959)]
    rows = {"train": slice(ends[0]), "validation": slice(*ends), "test": slice(ends[1], None)}
    return {
        split: {
            "image": image[part].astype(np.float32),
            "text": text[part].astype(np.float32),
            "label": (genres[part] > 0).astype(np.int64),
        }
        for split, part in rows.items()
    }


def _genres(path: Path) -> list[str]:
    film = read_json(path)
    found = film.get("genres") if isinstance(film, dict) else None
    if not isinstance(found, list):
        raise UserError(f"{path}: has no list of genres")
    return found


def hateful_memes(source: Path, options: Options) -> dict[str, Split]:
    """The folder of ``train.jsonl`` and ``dev.jsonl``, with features of frozen models from files.

    The published test split has no labels. Departure: ``dev`` is the test here, and a tenth of ``train``, by a hash of
    their ids, is for validation, where the release has dev for both.
    """
    numbers: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    labels: dict[str, list[int]] = {split: [] for split in numbers}
    for file in ("train.jsonl", "dev.jsonl"):
        path = source / file
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise UserError(f"{path}: missing") from None
        for place, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                name, label = str(row["id"]), row["label"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: line {place} has no id and label ({error})") from None
            if label not in (0, 1):
                raise UserError(f"{path}: line {place} has the label {label!r}; must be 0 or 1 (hateful)")
            held = hashlib.sha256(name.encode()).digest()[0] < 26
            split = "test" if file == "dev.jsonl" else "validation" if held else "train"
            numbers[split].append(name)
            labels[split].append(int(label))
    return _with_features(
        source, numbers, {split: np.array(found) for split, found in labels.items()}, options
    )


def _with_features(
    source: Path, ids: Mapping[str, list[str]], labels: Mapping[str, np.ndarray], options: Options
) -> dict[str, Split]:
    """Views from files of features, each an ``.npz`` of ``ids: (N,)`` and ``values: (N, d)`` or ``(N, L, d)``, and
    perhaps ``there: (N, L)``."""
    if not options.features:
        raise UserError(
            f"{source}: needs the features that frozen models made of it: --features image=FILE.npz --features "
            "text=FILE.npz, each with ids (N,), values (N, L, d) or (N, d), and perhaps there (N, L)"
        )
    found: dict[str, Split] = {split: {"label": y} for split, y in labels.items()}
    seen: dict[str, str] = {}
    for split, names in ids.items():
        if not names:
            raise UserError(f"{source}: its split {split} has no sample")
        for name in names:
            if name in seen:
                raise UserError(f"{source}: {name!r} is in {seen[name]} and again in {split}")
            seen[name] = split
    for view, path in options.features.items():
        if view == "label" or set("./+@") & set(view):
            raise UserError(
                f"--features {view}={path}: a view must not be called label, nor have . / + @ in its name"
            )
        table = open_numpy(path)
        values = entry(table, "values", str(path))
        known = {str(name): row for row, name in enumerate(entry(table, "ids", str(path)).tolist())}
        if values.ndim not in (2, 3) or values.dtype.kind != "f" or len(values) != len(known):
            raise UserError(
                f"{path}, values: has shape {values.shape}, {values.dtype}; must be floating, (N, L, d) or (N, d), of "
                f"the {len(known)} different ids"
            )
        there = table.get("there")
        if there is not None:
            there = shaped(there, values.shape[:2], f"{path}, there").astype(np.bool_)
            if values.ndim == 2:
                raise UserError(f"{path}, there: is for values (N, L, d); these are {values.shape}")
            values = np.where(there[..., None], values, 0)
        for split, names in ids.items():
            if missing := [name for name in names if name not in known]:
                raise UserError(
                    f"{path}: has no features of {missing[0]!r}, nor of {len(missing) - 1} others of {split}"
                )
            rows = [known[name] for name in names]
            found[split][view] = values[rows].astype(np.float32)
            if there is not None:
                found[split][view + THERE] = there[rows]
    return found
