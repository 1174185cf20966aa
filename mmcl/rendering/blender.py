"""Rendering by Blender's Cycles: slower than Embree, and with the published materials.

``bpy``, Blender as a Python package, is an optional extra. It runs in a process of its own (``blender_worker``), to
which this module talks: Blender keeps one scene for a whole process, prints on standard output, and is under the GPL.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from mmcl.checks import require
from mmcl.errors import UserError
from mmcl.rendering.meshes import Mesh
from mmcl.rendering.messages import Message
from mmcl.rendering.scene import Camera, Material, Scene
from mmcl.rendering.worker import Worker

PICTURE = "picture"
WORKER = "mmcl.rendering.blender_worker"


@dataclass(frozen=True)
class Look:
    """Light and materials where Blender can do more than Embree; the defaults are the published generator's.

    Fields:
        sun_angle: under which the sun's disc is seen, radians: how soft its shadow is.
        sheen_ior, sheen_roughness: rubber's cloth-like sheen, mixed in by Fresnel's formula for this index.
        gloss_ior, gloss_roughness, gloss: rubber's gloss: a Beckmann lobe of this grey, mixed in likewise.
        lobes, sharp_share, anisotropy: metal: the roughness (square root of GGX's alpha) of a sharp and a broad lobe,
            the sharp one's share, and how much longer than broad both are.
    """

    sun_angle: float = 0.1993
    sheen_ior: float = 1.4
    sheen_roughness: float = 0.6
    gloss_ior: float = 1.2
    gloss_roughness: float = 0.5916
    gloss: float = 0.8
    lobes: tuple[float, float] = (0.1, 0.4472)
    sharp_share: float = 0.6
    anisotropy: float = 0.25


def bpy_version() -> str:
    """The version of ``bpy`` that is installed here.

    Raises ``UserError`` where there is none; it is looked for and not imported.
    """
    try:
        if importlib.util.find_spec("bpy") is not None:
            return importlib.metadata.version("bpy")
    except ModuleNotFoundError:
        pass
    raise UserError(
        "backend=blender: needs bpy (Blender as a Python package), which is not installed; install the extra, with "
        f"Python 3.11 (this is {sys.version_info[0]}.{sys.version_info[1]}): pip install 'mmcl[blender]'"
    )


class BlenderRenderer:
    """Renders scenes of the given meshes by Cycles; the same scene gives the same bytes, in whatever order and process.

    Light is direct. The process that renders starts with the first picture, and ends with :meth:`close`, with the
    ``with`` block, when nobody holds this object any more, or when this process ends in whatever way.

    Args:
        meshes: of the shapes, in their order.
        size: pixels of a side, >= 8.
        samples: of a pixel along each side, >= 1: Cycles takes their square, and removes the noise.
        camera: where the scene is seen from.
        look: of lights and materials.

    Raises:
        UserError: ``bpy`` is not installed.
        ValueError: a size or number of samples out of range.
    """

    def __init__(
        self,
        meshes: Sequence[Mesh],
        size: int,
        samples: int = 4,
        camera: Camera | None = None,
        look: Look | None = None,
    ) -> None:
        require(size >= 8, "size", size, ">= 8")
        require(samples >= 1, "samples", samples, ">= 1")
        bpy_version()
        self._setup = setup_message(meshes, size, samples, camera or Camera(), look or Look())
        self._worker: Worker | None = None

    def render(self, scene: Scene) -> np.ndarray:
        """The picture: ``(size, size, 3)``, uint8, sRGB.

        Raises ``UserError`` with the end of what the worker said if it has died; the next call starts another.
        """
        try:
            if self._worker is None:
                self._worker = Worker("Blender", [sys.executable, "-m", WORKER])
                self._worker.ask(self._setup)
            return self._worker.ask(scene_message(scene)).arrays[PICTURE]
        except BaseException:  # after an interrupt too: an answer that nobody took would be the next scene's
            self.close()
            raise

    def close(self) -> None:
        """End the worker, if there is one. A later :meth:`render` starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def setup_message(meshes: Sequence[Mesh], size: int, samples: int, camera: Camera, look: Look) -> Message:
    """The worker's first message: all but the scene."""
    arrays: dict[str, np.ndarray] = {}
    for i, mesh in enumerate(meshes):
        arrays |= {
            f"{i}.vertices": mesh.vertices,
            f"{i}.triangles": mesh.triangles,
            f"{i}.normals": mesh.normals,
        }
    return Message({"size": size, "samples": samples, "camera": asdict(camera), "look": asdict(look)}, arrays)


def setup_from(message: Message) -> tuple[list[Mesh], int, int, Camera, Look]:
    """What :func:`setup_message` was given."""
    values, arrays = message.values, message.arrays
    meshes = [
        Mesh(*(arrays[f"{i}.{part}"] for part in ("vertices", "triangles", "normals")))
        for i in range(len(arrays) // 3)
    ]
    camera, look = Camera(**_tuples(values["camera"])), Look(**_tuples(values["look"]))
    return meshes, values["size"], values["samples"], camera, look


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists alone."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


VECTORS = ("rotation", "position", "color", "ground_color", "spot_color", "spot_position")


def scene_message(scene: Scene) -> Message:
    """A scene as a message; floats come back exactly."""
    values: dict[str, Any] = {"shape": scene.shape, "material": scene.material.name}
    return Message(values | {name: getattr(scene, name).tolist() for name in VECTORS})


def scene_from(message: Message) -> Scene:
    """The scene that :func:`scene_message` was given."""
    values = dict(message.values)
    values["material"] = Material[values["material"]]
    return Scene(**values | {name: np.array(values[name]) for name in VECTORS})
