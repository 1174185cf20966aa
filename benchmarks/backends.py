"""The two renderers on twelve scenes: how far apart their pictures are, and how long each takes.

``python benchmarks/backends.py``, where ``bpy`` is installed (``pip install 'mmcl[blender]'``): draws
``docs/backends.png`` and prints the tables of docs/data.md. ``make bench`` leaves it out, for ``bpy`` is optional.
"""

from __future__ import annotations

import os
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import numpy as np
from matplotlib.figure import Figure

from mmcl.archives.generate import MATERIALS, SAMPLES, Recipe
from mmcl.rendering import SHAPES
from mmcl.rendering.blender import BlenderRenderer, Look
from mmcl.rendering.embree import LOBES, EmbreeRenderer
from mmcl.rendering.scene import Scene, scene_of
from mmcl.rendering.shapes import built_in

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "backends.png"
SIZE = 128
SIZES = (64, 128, 224)
STRONGER = 4
"""By what differences are multiplied in the picture."""

ALIKE = Look(
    sun_angle=0.0,
    gloss=0.0,
    lobes=(LOBES[0][1] ** 0.5, LOBES[1][1] ** 0.5),
    sharp_share=LOBES[0][0],
    anisotropy=0.0,
)
"""Blender with what Embree has: a sun without extent, no gloss on rubber, the same two lobes of metal."""


def scenes() -> list[Scene]:
    """Eight image/text pairs, the first of each shape and one more, and two image pairs, of rubber and of metal.

    The second image pair's metal stands on the red ground of lost hues, on which Blender's gloss shows most.
    """
    texts = [Recipe().draw("test", i)["image"] for i in range(100)]
    first = [
        next(i for i, row in enumerate(texts) if row["object_shape"] == shape) for shape in range(len(SHAPES))
    ]
    more = next(i for i in range(100) if i not in first)
    found = [scene_of(texts[i], continuous=False) for i in (*first, more)]
    for i in (0, 2):
        pair = Recipe(kind="image_pairs").draw("test", i)
        found += [scene_of(pair[v], continuous=True, material=MATERIALS[v]) for v in ("image1", "image2")]
    return found


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean absolute difference, of 255, and correlation, over all pixels and colours."""
    x, y = a.ravel().astype(float), b.ravel().astype(float)
    return float(np.abs(x - y).mean()), float(np.corrcoef(x, y)[0, 1])


def name(scene: Scene) -> str:
    return f"{SHAPES[scene.shape]}, {scene.material.name}"


def draw(given: list[Scene], embree: list[np.ndarray], blender: list[np.ndarray]) -> None:
    """A column for each scene: Embree's picture, Blender's, and their difference."""
    differences = [
        np.minimum(STRONGER * np.abs(a.astype(int) - b), 255).astype(np.uint8)
        for a, b in zip(embree, blender, strict=True)
    ]
    rows = {"Embree": embree, "Blender": blender, f"{STRONGER} x\ndifference": differences}
    figure = Figure(figsize=(18, 5.4), layout="constrained")
    axes = figure.subplots(len(rows), len(given))
    for row, (label, pictures) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(label, fontsize=18)
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, scene in zip(axes[0], given, strict=True):
        axis.set_title(name(scene).replace(", ", "\n"), fontsize=18)
    for axis, a, b in zip(axes[-1], embree, blender, strict=True):
        axis.set_xlabel(f"{apart(a, b)[0]:.1f}", fontsize=18)
    figure.supxlabel("mean absolute difference, of 255", fontsize=18)
    figure.savefig(PICTURE, dpi=100)


def main() -> None:
    given, meshes = scenes(), built_in()
    embree = list(map(EmbreeRenderer(meshes, SIZE).render, given))
    with BlenderRenderer(meshes, SIZE) as renderer:
        blender = list(map(renderer.render, given))
    with BlenderRenderer(meshes, SIZE, look=ALIKE) as renderer:
        alike = list(map(renderer.render, given))
    draw(given, embree, blender)
    print(f"{SIZE} x {SIZE} pixels\n")
    print("| scene | difference | correlation | alike: difference | correlation |\n|---|---|---|---|---|")
    table = [(*apart(a, b), *apart(a, c)) for a, b, c in zip(embree, blender, alike, strict=True)]
    for label, row in [*zip(map(name, given), table, strict=True), ("mean", np.mean(table, axis=0))]:
        print(f"| {label} | {row[0]:.2f} | {row[1]:.4f} | {row[2]:.2f} | {row[3]:.4f} |")
    print("\n| pixels | Embree | Blender |\n|---|---|---|")
    for size in SIZES:
        ours = seconds(EmbreeRenderer(meshes, size, SAMPLES["embree"]), given)
        theirs = seconds(BlenderRenderer(meshes, size, SAMPLES["blender"]), given)
        print(f"| {size} | {ours:.3f} s | {theirs:.3f} s |", flush=True)
    start = processor_time(RUSAGE_CHILDREN)
    with BlenderRenderer(meshes, 8, 1) as renderer:
        renderer.render(given[0])
    print(f"\nBlender's start: {processor_time(RUSAGE_CHILDREN) - start:.1f} s", end="; ")
    print(f"memory of a process with Blender: {getrusage(RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB", end="; ")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def processor_time(whose: int) -> float:
    used = getrusage(whose)
    return used.ru_utime + used.ru_stime


def seconds(renderer: EmbreeRenderer | BlenderRenderer, given: list[Scene]) -> float:
    """Processor time of a picture, for a clock would tell of the machine's other work too.

    Blender's is known when its process has ended: what a second round adds is free of its start.
    """
    rounds = []
    for repeats in (1, 2):
        before = processor_time(RUSAGE_SELF) + processor_time(RUSAGE_CHILDREN)
        for scene in given * repeats:
            renderer.render(scene)
        if isinstance(renderer, BlenderRenderer):
            renderer.close()
        rounds.append(processor_time(RUSAGE_SELF) + processor_time(RUSAGE_CHILDREN) - before)
    return (rounds[1] - rounds[0]) / len(given)


if __name__ == "__main__":
    main()
