"""Small sets of pairs of one's own, written to disk."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

SHAPES = ("ball", "cube", "cone", "ring")


def picture(i: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """An image that no other ``i`` below 10,000 has: its colour is a code of ``i``, with a stripe that says i % 4."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = i % 100 * 2, i // 100 * 2, 128
    pixels[:, 8 * (i % 4) : 8 * (i % 4) + 8] = 255
    return Image.fromarray(pixels)


def record(i: int) -> dict[str, str]:
    shape = SHAPES[i % 4]
    return {
        "photo": f"photos/{i:04d}.png",
        "caption": f"A {shape}, number {i}.",
        "shape": shape,
        "count": str(i % 3),
        "hue": str(i / 7),
    }


def write_table(path: Path, records: list[dict[str, str]], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(records)
    return path


def write_pairs(root: Path, n: int) -> Path:
    """``n`` images in ``root/photos``, and ``root/pairs.csv`` that lists them."""
    (root / "photos").mkdir(parents=True)
    for i in range(n):
        picture(i).save(root / record(i)["photo"])
    return write_table(root / "pairs.csv", [record(i) for i in range(n)])


def members(i: int, factors: bool = False) -> dict[str, bytes]:
    """The members of pair ``i`` of a shard: key ``i``, four digits."""
    image = io.BytesIO()
    picture(i).save(image, "PNG")
    found = {f"{i:04d}.png": image.getvalue(), f"{i:04d}.txt": record(i)["caption"].encode()}
    if factors:
        found[f"{i:04d}.json"] = json.dumps({"hue": i / 7, "shape": record(i)["shape"]}).encode()
        found[f"{i:04d}.cls"] = str(i % 3).encode()
    return found


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_shards(root: Path, counts: dict[str, list[int]], factors: bool = False) -> None:
    """``root/PART-000.tar``, ...: shards of so many pairs, whose numbers go on from one to the next."""
    i = 0
    for part, sizes in counts.items():
        for shard, n in enumerate(sizes):
            files: dict[str, bytes] = {}
            for k in range(i, i + n):
                files |= members(k, factors)
            write_tar(root / f"{part}-{shard:03d}.tar", files)
            i += n
