"""Triangle meshes of the seven shapes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcl.checks import require
from mmcl.rendering.scene import RADIUS
from mmcl.rendering.text import SHAPE_WORDS

FORMATS = ("obj", "off", "ply", "stl", "glb")


@dataclass(frozen=True)
class Mesh:
    """``vertices (n, 3)`` and ``triangles (m, 3)`` of their indices; ``normals (n, 3)``, unit, of the vertices."""

    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray


def fitted(vertices: np.ndarray, triangles: np.ndarray) -> Mesh:
    """The mesh moved and scaled into the ball of radius ``RADIUS`` about the origin, with smooth normals.

    Vertices at the same place are made one, so that normals are smooth over seams; they are the means of the triangles'
    normals, weighted by area.

    Args:
        vertices: ``(n, 3)``, finite.
        triangles: ``(m, 3)``, indices of vertices.

    Raises:
        ValueError: no triangle, an index that is no vertex's, a vertex that is not finite, or all in one place.
    """
    require(triangles.ndim == 2 and triangles.shape[1:] == (3,) and len(triangles) > 0, "triangles",
            triangles.shape, "(m, 3), m >= 1")  # fmt: skip
    require(triangles.min() >= 0 and triangles.max() < len(vertices), "triangles", int(triangles.max()),
            f"indices of the {len(vertices)} vertices")  # fmt: skip
    require(bool(np.isfinite(vertices).all()), "vertices", "NaN or infinite", "finite")
    size = float(np.ptp(vertices, axis=0).max())
    require(size > 0, "vertices", "all in one place", "at least three places")
    _, first, inverse = np.unique(
        np.round(vertices / size, 6), axis=0, return_index=True, return_inverse=True
    )
    vertices, triangles = vertices[first].astype(np.float64), inverse.reshape(-1)[triangles]
    triangles = triangles[(triangles != np.roll(triangles, 1, axis=1)).all(axis=1)]
    require(len(triangles) > 0, "triangles", "all without area", "some with three corners")
    used = vertices[np.unique(triangles)]
    vertices = vertices - (used.min(axis=0) + used.max(axis=0)) / 2
    vertices *= RADIUS / np.linalg.norm(vertices[np.unique(triangles)], axis=1).max()
    corners = vertices[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
    return Mesh(vertices.astype(np.float32), triangles.astype(np.int32), normals.astype(np.float32))


def from_folder(folder: Path) -> list[Mesh]:
    """Meshes of a user's own: ``folder`` has ``teapot.obj``, ``hare.ply``, ..., each shape in one of ``FORMATS``.

    Raises ``ValueError`` that names the shape without a file, or the file that cannot be read or holds no triangles.
    """
    import trimesh  # (it takes half a second, which nobody else should wait for)

    found = []
    for shape in SHAPE_WORDS:
        paths = [path for name in FORMATS if (path := folder / f"{shape}.{name}").is_file()]
        require(len(paths) == 1, f"{folder}/{shape}", [path.name for path in paths],
                f"one file, {shape}.{', '.join(FORMATS)}")  # fmt: skip
        try:
            loaded = trimesh.load_mesh(paths[0], process=False)
            found.append(fitted(np.asarray(loaded.vertices), np.asarray(loaded.faces)))
        except Exception as error:  # a reader of many formats raises what it likes
            raise ValueError(f"{paths[0]}: no mesh ({' '.join(str(error).split())})") from error
    return found
