"""Making an archive: each pair from (seed, split, index) alone, by any number of processes, and on from a stop."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mmcl.archives.layout import MANIFEST, SPLITS, Kind, Layout
from mmcl.archives.verify import digest, is_whole, sums
from mmcl.checks import require, require_choice, require_share
from mmcl.errors import UserError
from mmcl.records.files import csv_bytes, write_bytes, write_json
from mmcl.rendering import HueMode, ImagePairs, ImageText, describe
from mmcl.rendering.latents import Factors, pair_generator
from mmcl.rendering.meshes import Mesh, from_folder
from mmcl.rendering.scene import Material, scene_of
from mmcl.rendering.shapes import built_in

if TYPE_CHECKING:
    from mmcl.rendering.blender import BlenderRenderer
    from mmcl.rendering.embree import EmbreeRenderer

BLOCK = 64
"""Pairs that a process makes at a time. With Blender, which is slower, an eighth: an interrupt waits for them."""

MATERIALS = {"image": Material.rubber, "image1": Material.rubber, "image2": Material.metal}
LIBRARIES = ("numpy", "embreex", "pillow", "matplotlib")
SAMPLES = {"embree": 2, "blender": 4}
"""Backend -> how many samples along a pixel's side the command takes unless told."""


@dataclass(frozen=True)
class Recipe:
    """What an archive is made of; with the versions of the libraries it decides every byte.

    Fields:
        kind: image_text or image_pairs.
        pairs: split -> how many, >= 1; splits are train, val and test.
        size: pixels of an image's side, >= 8.
        seed: >= 0.
        causal: whether style depends on content: :class:`ImageText`, :class:`ImagePairs`.
        style_change_prob: of image pairs, in [0, 1].
        hue_mode: original or wrapped, see :class:`HueMode`.
        samples: of a pixel along each side, >= 1.
        meshes: ``built_in``, or a folder with a mesh of each shape.
        backend: what renders: embree, or blender (an optional extra).

    Raises ``ValueError`` naming a field out of its range.
    """

    kind: str = "image_text"
    pairs: dict[str, int] = field(default_factory=lambda: {"train": 16_000, "val": 2_000, "test": 2_000})
    size: int = 64
    seed: int = 0
    causal: bool = True
    style_change_prob: float = 0.75
    hue_mode: str = "original"
    samples: int = 2
    meshes: str = "built_in"
    backend: str = "embree"

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, [kind.name for kind in Kind])
        require_choice("backend", self.backend, SAMPLES)
        require_choice("hue_mode", self.hue_mode, [mode.name for mode in HueMode])
        require(len(self.pairs) > 0, "pairs", self.pairs, "of one split or more")
        for split, pairs in self.pairs.items():
            require_choice("split", split, SPLITS)
            require(pairs >= 1, split, pairs, ">= 1")
        require(self.size >= 8, "size", self.size, ">= 8")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        require(self.samples >= 1, "samples", self.samples, ">= 1")
        require_share("style_change_prob", self.style_change_prob)

    @property
    def law(self) -> ImageText | ImagePairs:
        if self.kind == "image_text":
            return ImageText(position_dependent_color=self.causal)
        return ImagePairs(causal=self.causal, style_change_prob=self.style_change_prob)

    def draw(self, split: str, index: int) -> dict[str, Factors]:
        """View -> the factors of a pair."""
        return self.law.draw(pair_generator(self.seed, split, index))

    def layout(self, root: Path, split: str) -> Layout:
        return Layout(Kind[self.kind], root / split, self.pairs[split])

    def load_meshes(self) -> list[Mesh]:
        return built_in() if self.meshes == "built_in" else from_folder(Path(self.meshes))


@dataclass(frozen=True)
class Block:
    """Pairs ``start`` to ``stop`` - 1 of a split."""

    split: str
    start: int
    stop: int


def generate(
    root: Path,
    recipe: Recipe,
    *,
    processes: int,
    shard: tuple[int, int] = (0, 1),
    progress: Callable[[int], None] = lambda pairs: None,
) -> bool:
    """Make what is missing of the archive in ``root``, and say whether it is whole.

    Args:
        root: made if it is not there; an archive of another recipe there is refused.
        processes: >= 1, that render.
        shard: (k, n): of every n blocks of pairs only the k-th, for n commands at a time (a SLURM array, say). The one
            that finds nothing missing any more writes the sums.
        progress: told of every block: how many pairs.

    Raises:
        UserError: another archive, or other files, are there; a process that renders was killed; the backend is not
            installed.
        ValueError: a number of processes or shard out of range; a mesh that is none.
    """
    require(processes >= 1, "processes", processes, ">= 1")
    which, shards = shard
    require(0 <= which < shards, "shard", shard, "(k, n) with 0 <= k < n")
    _begin(root, recipe)
    for split in recipe.pairs:
        _write_tables(root, recipe, split)
    blocks = [block for i, block in enumerate(_blocks(recipe)) if i % shards == which]
    try:
        for block in _rendered(root, recipe, blocks, processes):
            progress(block.stop - block.start)
    except BrokenProcessPool:
        raise UserError(
            f"{root}: a process that renders was ended from outside (out of memory?); the same command goes on, with "
            "fewer of them (-j) if it happens again"
        ) from None
    return _finish(root, recipe)


def _blocks(recipe: Recipe) -> Iterator[Block]:
    size = BLOCK if recipe.backend == "embree" else BLOCK // 8
    for split, pairs in recipe.pairs.items():
        for start in range(0, pairs, size):
            yield Block(split, start, min(start + size, pairs))


def _begin(root: Path, recipe: Recipe) -> None:
    """Make the folder and the manifest; refuse what is not this archive."""
    made = {
        "recipe": _fields(recipe),
        "versions": _versions(recipe),
        "meshes_sha256": _mesh_hash(recipe.load_meshes()),
    }
    root.mkdir(parents=True, exist_ok=True)
    path = root / MANIFEST
    others = [p for p in root.iterdir() if not p.name.startswith(f".{MANIFEST}.")]
    if not path.exists():
        if others:
            raise UserError(f"{root}: holds files, and no {MANIFEST} of ours; name another folder")
        _write_first(path, made)
    there = _read_manifest(path)
    for part, wanted in made.items():
        found = there.get(part)
        if part == "recipe" and isinstance(found, dict):
            # Meshes are what they hold, wherever they lie; and see _fields.
            found = {"backend": "embree", **found, "meshes": recipe.meshes}
            wanted = asdict(recipe)
        if found != wanted:
            raise UserError(f"{path}: {_difference(part, found, wanted)}; name another folder, or remove it")


def _fields(recipe: Recipe) -> dict[str, Any]:
    """The recipe for the manifest. Embree's name is left out: archives that were made before there was another backend
    say nothing of it, and the same recipe has the same manifest."""
    fields = asdict(recipe)
    if recipe.backend == "embree":
        del fields["backend"]
    return fields


def _versions(recipe: Recipe) -> dict[str, str]:
    """Library -> version, of those that decide a pixel. Raises ``UserError`` where the backend is not installed."""
    if recipe.backend == "embree":
        return {name: version(name) for name in LIBRARIES}
    from mmcl.rendering.blender import bpy_version

    return {"bpy": bpy_version(), **{name: version(name) for name in LIBRARIES if name != "embreex"}}


def _write_first(path: Path, value: object) -> None:
    """Write a file unless another command has just done so: of several that begin at once, one's manifest stands."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write_json(temporary, value)
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error}); remove the folder, or name another") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not what mmcl data generate writes; name another folder")
    return found


def _difference(part: str, found: Any, wanted: Any) -> str:
    """What an archive was made with, in its first field that is another."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in wanted:
            if found.get(key) != wanted[key]:
                return f"made with {part}.{key}={found.get(key)!r}, not {wanted[key]!r}"
    return f"made with another {part}"


def _mesh_hash(meshes: list[Mesh]) -> str:
    found = hashlib.sha256()
    for mesh in meshes:
        for array in (mesh.vertices, mesh.triangles, mesh.normals):
            found.update(str(array.shape).encode() + array.tobytes())
    return found.hexdigest()


def _write_tables(root: Path, recipe: Recipe, split: str) -> None:
    """The factors of all pairs and their text, where they are not there as they must be."""
    layout = recipe.layout(root, split)
    for folder in layout.folders:
        folder.mkdir(parents=True, exist_ok=True)
    pairs = [recipe.draw(split, i) for i in range(layout.pairs)]
    files = {
        layout.latents(view): csv_bytes(list(pairs[0][view]), [pair[view] for pair in pairs])
        for view in layout.kind.views
    }
    if layout.kind is Kind.image_text:
        lines = [
            describe(
                int(row["object_shape"]),
                int(row["object_xpos"]),
                int(row["object_ypos"]),
                str(row["object_color_name"]),
                int(row["text_phrasing"]),
            )
            for row in (pair["text"] for pair in pairs)
        ]
        files[layout.text] = "\n".join(lines).encode()  # (no newline at the end, as published)
    for path, data in files.items():
        if not (path.exists() and path.read_bytes() == data):
            layout.sums.unlink(missing_ok=True)
            write_bytes(path, data)


def _rendered(root: Path, recipe: Recipe, blocks: list[Block], processes: int) -> Iterator[Block]:
    """The blocks as they are done."""
    if processes == 1:
        yield from map(_maker(root, recipe), blocks)
        return
    # One thread each: the processes are the threads, and products of matrices come out the same however many there are.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_process, (root, recipe)
    )
    try:
        # Few blocks wait: an interrupt then has little to wait for.
        left, running = iter(blocks), set()
        for block in left:
            running.add(pool.submit(_make, block))
            if len(running) > processes:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in running)
    finally:
        pool.shutdown(cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


_worker: Callable[[Block], Block]


def _start_process(root: Path, recipe: Recipe) -> None:
    def end_with_parent() -> None:
        # One that is killed cannot end its processes: they would wait for its next block for ever.
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's
    global _worker
    _worker = _maker(root, recipe)


def _maker(root: Path, recipe: Recipe) -> Callable[[Block], Block]:
    """What makes blocks in one process, with all that they need."""
    renderer = _renderer(recipe)
    mode = HueMode[recipe.hue_mode]

    def make(block: Block) -> Block:
        layout = recipe.layout(root, block.split)
        for index in range(block.start, block.stop):
            missing = [view for view in layout.kind.folders if not is_whole(layout.image(view, index))]
            if missing:
                layout.sums.unlink(missing_ok=True)  # they are of what was there before
            factors = recipe.draw(block.split, index) if missing else {}
            for view in missing:
                scene = scene_of(
                    factors[view],
                    continuous=layout.kind is Kind.image_pairs,
                    material=MATERIALS[view],
                    hue_mode=mode,
                )
                _write_image(layout.image(view, index), renderer.render(scene))
        return block

    return make


def _renderer(recipe: Recipe) -> EmbreeRenderer | BlenderRenderer:
    # Each is imported where it is wanted: Embree's library takes a while, Blender's is not there for everybody.
    if recipe.backend == "blender":
        from mmcl.rendering.blender import BlenderRenderer

        return BlenderRenderer(recipe.load_meshes(), recipe.size, recipe.samples)
    from mmcl.rendering.embree import EmbreeRenderer

    return EmbreeRenderer(recipe.load_meshes(), recipe.size, recipe.samples)


def _make(block: Block) -> Block:
    return _worker(block)


def _write_image(path: Path, picture: np.ndarray) -> None:
    """A PNG that is whole or not there after a kill. (After a power cut it may be neither, which ``is_whole`` sees.)"""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="png")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data.getvalue())
    try:
        os.replace(temporary, path)
    except FileNotFoundError:  # another command in this folder has made it, and cleaned up
        if not is_whole(path):
            raise


def _finish(root: Path, recipe: Recipe) -> bool:
    """Write the sums of splits that are whole; whether all are."""
    layouts = {split: recipe.layout(root, split) for split in recipe.pairs}
    for layout in layouts.values():
        if not all(is_whole(path) for path in layout.images):
            return False
    for layout in layouts.values():
        if layout.sums.exists():
            continue
        for folder in layout.folders:
            for left in (*folder.glob(".*.png.*"), *folder.glob(".*.csv.*")):  # of processes that were killed
                left.unlink(missing_ok=True)
        write_bytes(layout.sums, sums(layout).encode())
    manifest = _read_manifest(root / MANIFEST)
    found = {split: digest(layout.sums) for split, layout in layouts.items()}
    if manifest.get("splits_sha256") != found:
        write_json(root / MANIFEST, {**manifest, "splits_sha256": found})
    return True
