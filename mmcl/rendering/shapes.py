"""The seven shapes, made by code: Newell's teapot from its Bezier patches, and six figures of balls and limbs.

Of a figure's parts, which overlap, a ray meets the outermost: they need not be joined. x points ahead, z up; the size
does not matter (``fitted``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mmcl.rendering.meshes import Mesh, fitted

Part = tuple[np.ndarray, np.ndarray]
"""Vertices and triangles."""

# Martin Newell's teapot (1975), in the public domain: control points of bicubic patches. Rim, body, lid and bottom are
# surfaces of revolution, given by their profiles (radius, z); handle and spout are symmetric about y = 0: one half.
PROFILES = (
    ((1.4, 2.4), (1.3375, 2.53125), (1.4375, 2.53125), (1.5, 2.4)),
    ((1.5, 2.4), (1.75, 1.875), (2.0, 1.35), (2.0, 0.9)),
    ((2.0, 0.9), (2.0, 0.45), (1.5, 0.225), (1.5, 0.15)),
    ((0.0, 3.15), (0.8, 3.15), (0.0, 2.85), (0.2, 2.7)),
    ((0.2, 2.7), (0.4, 2.55), (1.3, 2.55), (1.3, 2.4)),
    ((1.5, 0.15), (1.5, 0.075), (1.425, 0.0), (0.0, 0.0)),
)
QUARTER = 0.56
"""Of Newell's quarter circles: the inner control points' share of the radius."""

# A row of a half: the inner edge (x, z), the outer edge (x, z), and how far the points between them stand out.
HANDLE = (
    ((-1.6, 2.025), (-1.5, 2.25), 0.3),
    ((-2.3, 2.025), (-2.5, 2.25), 0.3),
    ((-2.7, 2.025), (-3.0, 2.25), 0.3),
    ((-2.7, 1.8), (-3.0, 1.8), 0.3),
    ((-2.7, 1.575), (-3.0, 1.35), 0.3),
    ((-2.5, 1.125), (-2.65, 0.9375), 0.3),
    ((-2.0, 0.9), (-1.9, 0.6), 0.3),
)
SPOUT = (
    ((1.7, 1.425), (1.7, 0.6), 0.66),
    ((2.6, 1.425), (3.1, 0.825), 0.66),
    ((2.3, 2.1), (2.4, 2.025), 0.25),
    ((2.7, 2.4), (3.3, 2.4), 0.25),
    ((2.8, 2.475), (3.525, 2.49375), 0.25),
    ((2.9, 2.475), (3.45, 2.5125), 0.15),
    ((2.8, 2.4), (3.2, 2.4), 0.15),
)


def patch(points: np.ndarray, steps: int) -> Part:
    """A bicubic Bezier patch as triangles: ``points (4, 4, 3)``, ``steps`` >= 1 squares along each side."""
    t = np.linspace(0, 1, steps + 1)[:, None]
    basis = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)
    return np.einsum("ui,vj,ijk->uvk", basis, basis, points).reshape(-1, 3), _grid(steps, steps)


def _grid(rows: int, columns: int) -> np.ndarray:
    """The triangles of a grid of ``(rows + 1) x (columns + 1)`` vertices."""
    i, j = np.divmod(np.arange(rows * columns), columns)
    corner = i * (columns + 1) + j
    right, below = corner + 1, corner + columns + 1
    return np.concatenate([np.stack([corner, below, right], 1), np.stack([right, below, below + 1], 1)])


def teapot(steps: int = 8) -> list[Part]:
    """Its 32 patches."""
    parts = []
    for profile in PROFILES:
        for quarter in range(4):
            a, b = math.cos(quarter * math.pi / 2), math.sin(quarter * math.pi / 2)
            turn = np.array([[round(a), round(-b), 0], [round(b), round(a), 0], [0, 0, 1]])
            rows = [[(r, 0, z), (r, QUARTER * r, z), (QUARTER * r, r, z), (0, r, z)] for r, z in profile]
            parts.append(patch(np.array(rows, dtype=float) @ turn.T, steps))
    for half in (HANDLE, SPOUT):
        for upper_or_lower in (half[:4], half[3:]):
            for side in (-1, 1):
                points = [
                    [(x, 0, z), (x, side * out, z), (u, side * out, w), (u, 0, w)]
                    for (x, z), (u, w), out in upper_or_lower
                ]
                parts.append(patch(np.array(points, dtype=float), steps))
    return parts


Point = tuple[float, float, float]


def ball(center: Point, radii: Point, turn: float = 0.0) -> Part:
    """An ellipsoid with these half axes, turned about y by ``turn`` radians (forwards and down)."""
    rows, columns = 12, 16
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij"
    )
    sphere = np.stack(
        [np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], axis=-1
    )
    c, s = math.cos(turn), math.sin(turn)
    vertices = sphere.reshape(-1, 3) * radii @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return vertices + center, _grid(rows, columns)


def limb(a: Point, b: Point, radius_a: float, radius_b: float) -> Part:
    """A round cone: nearly the hull of a ball about ``a`` and of one about ``b``."""
    rows, columns = 6, 12
    start, along = np.array(a, dtype=float), np.subtract(b, a)
    length = float(np.linalg.norm(along))
    axis = along / length
    other = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0.0, 0.0])
    other /= np.linalg.norm(other)
    third = np.cross(other, axis)
    angles = np.linspace(0, np.pi / 2, rows + 1)
    # From the one pole over both rims to the other pole: places along the axis, and radii.
    place = np.concatenate([-radius_a * np.cos(angles), length + radius_b * np.sin(angles)])
    radius = np.concatenate([radius_a * np.sin(angles), radius_b * np.cos(angles)])
    around = np.linspace(0, 2 * np.pi, columns + 1)
    circle = np.cos(around)[:, None] * other + np.sin(around)[:, None] * third
    vertices = start + place[:, None, None] * axis + radius[:, None, None] * circle
    return vertices.reshape(-1, 3), _grid(len(place) - 1, columns)


def both(make: Callable[[float], Part]) -> list[Part]:
    """A part on either side: ``make(1)`` and ``make(-1)``."""
    return [make(1.0), make(-1.0)]


def hare() -> list[Part]:
    return [
        ball((-0.2, 0, 0.0), (0.75, 0.6, 0.95), 0.35),
        ball((0.45, 0, 1.15), (0.5, 0.4, 0.42), 0.2),
        ball((0.85, 0, 1.05), (0.25, 0.22, 0.2)),
        ball((-0.9, 0, -0.55), (0.28, 0.28, 0.28)),
        *both(lambda s: limb((0.25, 0.2 * s, 1.45), (-0.25, 0.45 * s, 2.75), 0.15, 0.2)),
        *both(lambda s: limb((-0.2, 0.5 * s, -0.75), (0.65, 0.5 * s, -0.85), 0.25, 0.17)),
        *both(lambda s: limb((0.35, 0.3 * s, 0.2), (0.6, 0.25 * s, -0.8), 0.2, 0.14)),
    ]


def dragon() -> list[Part]:
    spine = [(1.9, 0, 1.5), (1.3, 0, 1.35), (0.8, 0, 0.6), (0.0, 0, 0.2), (-0.9, 0, 0.15), (-1.7, 0.25, -0.1),
             (-2.4, 0.0, 0.25), (-2.9, -0.5, 0.8)]  # fmt: skip
    radii = [0.3, 0.28, 0.4, 0.55, 0.45, 0.3, 0.18, 0.05]
    body = [limb(a, b, r, q) for a, b, r, q in zip(spine, spine[1:], radii, radii[1:], strict=False)]
    return [
        *body,
        ball((2.25, 0, 1.4), (0.45, 0.22, 0.2), 0.2),
        *both(lambda s: limb((1.8, 0.15 * s, 1.75), (1.3, 0.35 * s, 2.15), 0.1, 0.03)),
        *both(lambda s: ball((-0.45, 1.15 * s, 1.05), (0.75, 1.0, 0.08), 0.35)),
        *both(lambda s: limb((0.1, 0.3 * s, 0.5), (-0.3, 2.2 * s, 1.5), 0.12, 0.05)),
        *both(lambda s: limb((0.3, 0.4 * s, 0.1), (0.6, 0.6 * s, -0.9), 0.24, 0.14)),
        *both(lambda s: limb((-0.9, 0.35 * s, 0.0), (-0.9, 0.6 * s, -0.9), 0.28, 0.14)),
    ]


def cow() -> list[Part]:
    return [
        ball((0, 0, 0), (1.5, 0.75, 0.8)),
        ball((1.7, 0, 0.55), (0.6, 0.42, 0.42), 0.5),
        ball((2.15, 0, 0.25), (0.3, 0.33, 0.28)),
        *both(lambda s: limb((1.5, 0.3 * s, 0.9), (1.65, 0.95 * s, 1.35), 0.12, 0.05)),
        *both(lambda s: ball((1.35, 0.6 * s, 0.65), (0.15, 0.35, 0.12))),
        ball((-0.75, 0, -0.8), (0.4, 0.35, 0.3)),
        *both(lambda s: limb((0.95, 0.45 * s, -0.4), (0.95, 0.45 * s, -1.5), 0.3, 0.22)),
        *both(lambda s: limb((-1.05, 0.45 * s, -0.4), (-1.05, 0.45 * s, -1.5), 0.32, 0.22)),
        limb((-1.45, 0, 0.45), (-1.85, 0, -0.7), 0.09, 0.07),
        ball((-1.87, 0, -0.8), (0.14, 0.14, 0.22)),
    ]


def armadillo() -> list[Part]:
    rings = [(-0.95, 0.78), (-0.55, 0.97), (-0.15, 1.06), (0.25, 1.02), (0.65, 0.85)]
    return [
        *(ball((x, 0, 0.05), (0.24, r, 0.92 * r)) for x, r in rings),
        ball((-0.15, 0, 0), (1.35, 0.95, 0.85)),
        ball((1.25, 0, -0.15), (0.5, 0.34, 0.32), 0.35),
        limb((1.5, 0, -0.25), (2.15, 0, -0.55), 0.2, 0.07),
        *both(lambda s: ball((1.05, 0.25 * s, 0.3), (0.1, 0.13, 0.3), -0.3)),
        limb((-1.3, 0, -0.2), (-2.5, 0, -0.75), 0.3, 0.05),
        *both(lambda s: limb((0.7, 0.6 * s, -0.5), (0.85, 0.7 * s, -1.05), 0.22, 0.2)),
        *both(lambda s: limb((-0.9, 0.6 * s, -0.5), (-0.85, 0.7 * s, -1.05), 0.25, 0.2)),
    ]


def horse() -> list[Part]:
    return [
        ball((0, 0, 0), (1.15, 0.45, 0.5)),
        limb((0.8, 0, 0.15), (1.55, 0, 1.5), 0.38, 0.24),
        limb((1.5, 0, 1.6), (2.15, 0, 1.05), 0.25, 0.16),
        *(ball((0.72 + 0.2 * k, 0, 0.62 + 0.36 * k), (0.2, 0.07, 0.28), -0.5) for k in range(4)),
        *both(lambda s: limb((1.45, 0.12 * s, 1.8), (1.42, 0.17 * s, 2.1), 0.08, 0.03)),
        *both(lambda s: limb((0.85, 0.25 * s, -0.2), (0.85, 0.25 * s, -2.0), 0.2, 0.11)),
        *both(lambda s: limb((-0.9, 0.25 * s, -0.2), (-0.95, 0.25 * s, -2.0), 0.24, 0.11)),
        limb((-1.1, 0, 0.3), (-1.6, 0, -0.9), 0.12, 0.22),
    ]


def head() -> list[Part]:
    return [
        ball((0, 0, 0.2), (0.95, 0.8, 1.15)),
        ball((0.25, 0, -0.55), (0.7, 0.58, 0.6)),
        limb((0.9, 0, 0.25), (1.2, 0, -0.2), 0.12, 0.2),
        *both(lambda s: ball((0.75, 0.32 * s, 0.42), (0.25, 0.24, 0.12))),
        *both(lambda s: ball((-0.05, 0.85 * s, 0.05), (0.22, 0.14, 0.35))),
        ball((0.85, 0, -0.62), (0.14, 0.32, 0.1)),
        ball((0.75, 0, -0.98), (0.22, 0.26, 0.2)),
        limb((-0.15, 0, -0.7), (-0.3, 0, -1.35), 0.5, 0.6),
    ]


def mesh_of(parts: list[Part]) -> Mesh:
    """The parts as one fitted mesh."""
    offsets = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    return fitted(
        np.concatenate([vertices for vertices, _ in parts]),
        np.concatenate([triangles + k for (_, triangles), k in zip(parts, offsets, strict=False)]),
    )


def built_in() -> list[Mesh]:
    """The meshes of teapot, hare, dragon, cow, armadillo, horse and head, in this order."""
    return [mesh_of(make()) for make in (teapot, hare, dragon, cow, armadillo, horse, head)]
