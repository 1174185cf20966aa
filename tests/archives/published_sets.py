"""Small files of the schemas of published sets, made of random numbers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np

AFFECT = {"mosi": (20, 5, 300), "ur_funny": (371, 81, 300)}
"""Features of vision, audio and text."""


def affect_tables(
    n: int = 24, steps: int = 50, sizes: tuple[int, int, int] = (20, 5, 300), seed: int = 0
) -> dict:
    """Sample i begins at step i % 5, but the last of each split has no text."""
    random = np.random.default_rng(seed)
    tables = {}
    for split, rows in (("train", n), ("valid", n // 2), ("test", n // 2)):
        labels = random.uniform(-3, 3, (rows, 1, 1))
        labels[:2] = [[[1.5]], [[-0.5]]]  # of both classes
        table = {"labels": labels, "id": [f"{split}-{i}" for i in range(rows)]}
        for name, size in zip(("vision", "audio", "text"), sizes, strict=True):
            x = random.normal(size=(rows, steps, size)).astype(np.float32)
            for i in range(rows):
                x[i, : i % 5] = 0
            table[name] = x
        table["text"][-1] = 0
        table["audio"][0, -1, 0] = -np.inf
        tables[split] = table
    return tables


def mimic_table(n: int = 40, seed: int = 0) -> dict:
    random = np.random.default_rng(seed)
    series = random.normal(3.0, 2.0, (n, 24, 12))
    series[0, 0, 0] = np.nan
    series[1, 2, 3] = np.inf
    ends = np.zeros((n, 6))
    ends[3, 2] = ends[4, 5] = ends[5, [4, 1]] = 1
    codes = random.integers(0, 2, (n, 20))
    return {
        "ep_tdata": series,
        "adm_features_all": random.normal(-1.0, 5.0, (n, 5)),
        "adm_labels_all": ends,
        "y_icd9": codes,
    }


def write_pickle(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def write_touch(
    folder: Path, trajectories: int = 5, chunks: int = 2, steps: int = 10, side: int = 64, seed: int = 0
) -> Path:
    """``FOLDER/push_T_C_1000.h5``, called as the published ones.

    The position's first value is 100 T + 10 C + t / 10 of step t.
    """
    folder.mkdir()
    random = np.random.default_rng(seed)
    for trajectory in range(trajectories):
        for chunk in range(chunks):
            proprio = random.normal(size=(steps, 10))
            proprio[:, 0] = 100 * trajectory + 10 * chunk + np.arange(steps) / 10
            contact = random.integers(0, 2, (steps, 50)) * (np.arange(steps) % 2)[:, None]
            with h5py.File(folder / f"push_{trajectory}_{chunk}_1000.h5", "w") as file:
                file["image"] = random.integers(0, 256, (steps, side, side, 3), dtype=np.uint8)
                file["proprio"] = proprio
                file["ee_forces_continuous"] = random.normal(size=(steps, 50, 6))
                file["action"] = random.normal(size=(steps, 4))
                file["contact"] = contact
                file["depth_data"] = np.zeros((steps, 2))
    return folder


def write_av_mnist(folder: Path, n: int = 48, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    for view, size in (("image", (784,)), ("audio", (112, 112))):
        (folder / view).mkdir(parents=True)
        for split, rows in (("train", n), ("test", n // 2)):
            np.save(
                folder / view / f"{split}_data.npy", random.integers(0, 256, (rows, *size)).astype(np.float64)
            )
    for split, rows in (("train", n), ("test", n // 2)):
        np.save(folder / f"{split}_labels.npy", np.arange(rows) % 10)
    return folder


def write_mm_imdb(folder: Path, n: int = 24) -> Path:
    """Film i is a Drama where i is even, a Comedy where 3 divides it, and Adult, which is no genre here."""
    (folder / "dataset").mkdir(parents=True)
    names = [f"{i:07}" for i in range(n)]
    for i, name in enumerate(names):
        genres = ["Adult", *(["Drama"] if i % 2 == 0 else []), *(["Comedy"] if i % 3 == 0 else [])]
        (folder / "dataset" / f"{name}.json").write_text(json.dumps({"plot": ["p"], "genres": genres}))
    half, rest = n // 2, 3 * n // 4
    parts = {"train": names[:half], "dev": names[half:rest], "test": names[rest:]}
    (folder / "split.json").write_text(json.dumps(parts))
    return folder


def write_memes(folder: Path, n: int = 60) -> Path:
    folder.mkdir()
    for file, numbers in (("train", range(n)), ("dev", range(1000, 1000 + n // 2))):
        lines = [json.dumps({"id": i, "img": f"img/{i}.png", "text": "t", "label": i % 2}) for i in numbers]
        (folder / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_features(
    path: Path, ids: list[str], tokens: int, size: int, *, there: bool = False, seed: int = 0
) -> Path:
    """In another order than ``ids``; the first value of sample ``ids[i]`` is i."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(len(ids), tokens, size)).astype(np.float32)
    values[:, 0, 0] = np.arange(len(ids))
    order = random.permutation(len(ids))
    more = {"there": np.arange(tokens) < 1 + order[:, None] % tokens} if there else {}
    np.savez(path, ids=np.array(ids)[order], values=values[order], **more)
    return path
