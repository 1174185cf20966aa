"""Rendering by ray tracing on the CPU: Embree finds what a ray meets, NumPy computes its light."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from mmcl.checks import require
from mmcl.rendering.meshes import Mesh
from mmcl.rendering.scene import (
    GROUND,
    LAMP_POSITION,
    LAMP_POWER,
    LAMP_SIDE,
    RADIUS,
    SPOT_ANGLE,
    SPOT_BLEND,
    SPOT_POWER,
    SPOT_RADIUS,
    SUN,
    Camera,
    Material,
    Scene,
)

REFLECTANCE_AT_NORMAL = 0.028
"""Of rubber's surface, by Fresnel's formula for an index of refraction of 1.4; what is reflected there is left out."""

LOBES = ((0.6, 0.08), (0.4, 0.2))
"""Metal: weight and roughness (GGX alpha) of each lobe. The published 0.01 of the first needs more samples than a small
picture has, and is blurred by its renderer too."""

OFFSET = 2e-3
"""How far from a surface its shadow rays begin."""

GRID = 2
"""GRID x GRID points of each lamp are seen by a sample of a pixel; the samples of a pixel see different ones."""


@dataclass(frozen=True)
class _Surface:
    """What the camera's rays met, ``n`` points: where, the normal and the way back to the camera (unit), linear RGB of
    the surface, whether it is metal, and which of its pixel's samples it is."""

    points: np.ndarray
    normals: np.ndarray
    views: np.ndarray
    color: np.ndarray
    metal: np.ndarray
    place: np.ndarray


class EmbreeRenderer:
    """Renders scenes of the given meshes; the same scene gives the same bytes, in whatever order and process.

    Light is direct: a sun, a square lamp, and a spotlight of finite radius. Rubber scatters by Lambert's law, less what
    Fresnel's formula takes at grazing angles; metal reflects by two GGX lobes.

    Args:
        meshes: of the shapes, in their order.
        size: pixels of a side, >= 8.
        samples: of a pixel along each side, >= 1.
        camera: where the scene is seen from.
    """

    def __init__(
        self, meshes: Sequence[Mesh], size: int, samples: int = 2, camera: Camera | None = None
    ) -> None:
        require(size >= 8, "size", size, ">= 8")
        require(samples >= 1, "samples", samples, ">= 1")
        self._meshes = meshes
        self._size, self._samples = size, samples
        camera = camera or Camera()
        self._eye = np.array(camera.position, np.float32)
        n = size * samples
        at = (np.arange(n) + 0.5) / n * 2 - 1
        u, v = np.meshgrid(at, -at)
        self._rays = camera.directions(u.ravel(), v.ravel()).astype(np.float32)
        down, across = np.divmod(np.arange(n * n), n)
        self._place = down % samples * samples + across % samples
        self._corners = np.stack(np.divmod(np.arange(samples**2), samples)[::-1], axis=1)
        self._scenes: dict[int, tuple[EmbreeScene, TriangleMesh]] = {}

    def render(self, scene: Scene) -> np.ndarray:
        """The picture: ``(size, size, 3)``, uint8, sRGB."""
        surface, seen = self._first_hits(scene)
        picture = np.zeros_like(self._rays)
        picture[seen] = self._light(scene, surface)
        n, s = self._size, self._samples
        mean = picture.clip(0, 1).reshape(n, s, n, s, 3).mean(axis=(1, 3))
        return _srgb(mean)

    def _trace(self, scene: Scene, origins: np.ndarray, directions: np.ndarray) -> tuple[EmbreeScene, tuple]:
        """The object's Embree scene, and rays of the world as its mesh sees them.

        Rays go to the mesh and not the mesh to its place, so that a shape's triangles are sorted once.
        """
        if scene.shape not in self._scenes:
            mesh, new = self._meshes[scene.shape], EmbreeScene()
            self._scenes[scene.shape] = new, TriangleMesh(new, mesh.vertices, mesh.triangles)
        rotation = scene.rotation.astype(np.float32)
        there = _times(origins - scene.position.astype(np.float32), rotation)
        return self._scenes[scene.shape][0], (there, _times(directions, rotation))

    def _first_hits(self, scene: Scene) -> tuple[_Surface, np.ndarray]:
        """What the camera's rays meet first, and which rays meet anything."""
        rays = self._rays
        embree, there = self._trace(scene, np.broadcast_to(self._eye, rays.shape), rays)
        found = embree.run(*there, output=1)
        with np.errstate(divide="ignore"):
            to_ground = (GROUND - self._eye[2]) / rays[:, 2]
        to_ground = np.where(to_ground > 0, to_ground, np.inf)
        on_object = (found["primID"] >= 0) & (found["tfar"] < to_ground)
        distance = np.where(on_object, found["tfar"], to_ground)
        seen = np.flatnonzero(np.isfinite(distance))
        on_object = on_object[seen]
        points = self._eye + rays[seen] * distance[seen, None]
        normals = np.zeros_like(points)
        normals[:, 2] = 1
        if on_object.any():
            which = seen[on_object]
            mesh = self._meshes[scene.shape]
            corners = mesh.normals[mesh.triangles[found["primID"][which]]]
            u, v = found["u"][which, None], found["v"][which, None]
            smooth = (1 - u - v) * corners[:, 0] + u * corners[:, 1] + v * corners[:, 2]
            smooth = _times(smooth, scene.rotation.T.astype(np.float32))
            smooth /= np.linalg.norm(smooth, axis=1, keepdims=True).clip(min=1e-12)
            # Both sides of a triangle are drawn, for meshes may be open.
            normals[on_object] = smooth * np.where(_dot(smooth, rays[which]) > 0, -1, 1)[:, None]
        color = np.where(on_object[:, None], scene.color, scene.ground_color).astype(np.float32)
        metal = on_object & (scene.material is Material.metal)
        return _Surface(points, normals, -rays[seen], color, metal, self._place[seen]), seen

    def _light(self, scene: Scene, surface: _Surface) -> np.ndarray:
        """The light that leaves each point of the surface towards the camera, linear RGB ``(n, 3)``."""
        to_center = scene.position.astype(np.float32) - surface.points
        squared = _dot(to_center, to_center)
        cosine_out = _dot(surface.normals, surface.views).clip(min=1e-3)
        received = {True: np.zeros_like(squared), False: np.zeros_like(squared)}
        for towards, irradiance, from_spot in self._lights(scene, surface):
            cosine = _dot(surface.normals, towards)
            lit = (cosine > 0) & (irradiance > 0)
            # Rays that pass the ball about the object need not be traced.
            along = _dot(towards, to_center)
            near = np.flatnonzero(lit & (along > -RADIUS) & (squared - along * along < RADIUS**2))
            start = surface.points[near] + OFFSET * surface.normals[near]
            embree, there = self._trace(scene, start, towards[near])
            lit[near] = embree.run(*there, query="OCCLUDED") < 0
            response = _passed(cosine) / np.float32(np.pi)
            if surface.metal.any():
                response[surface.metal] = _lobes(surface, towards, cosine, cosine_out)
            received[from_spot] += np.where(lit, cosine * irradiance * response, 0)
        sent = np.where(surface.metal, 1, _passed(cosine_out))[:, None] * surface.color
        spot_color = scene.spot_color.astype(np.float32)
        return np.asarray(sent * (received[False][:, None] + received[True][:, None] * spot_color))

    def _lights(self, scene: Scene, surface: _Surface) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
        """Points of the lights: unit directions ``(n, 3)`` to them, irradiance ``(n,)`` at a right angle, and whether
        they are of the spotlight."""
        up = np.zeros_like(surface.points)
        up[:, 2] = 1
        yield up, np.full(len(up), SUN, np.float32), False
        spot = scene.spot_position.astype(np.float32)
        axis = scene.position.astype(np.float32) - spot
        axis /= np.linalg.norm(axis)
        side = np.cross(axis, np.array([1, 0, 0], np.float32))
        side /= np.linalg.norm(side)
        other = np.cross(axis, side)
        edge = np.float32(math.cos(SPOT_ANGLE / 2))
        lamp = np.float32(LAMP_POWER / math.pi / GRID**2)  # radiance times area, of one of its points
        bulb = np.float32(SPOT_POWER / (4 * math.pi) / GRID**2)
        for k in range(GRID**2):
            # The points of all samples of a pixel are the middles of a grid's cells, one in each quarter for each.
            cells = np.array([k % GRID, k // GRID]) * self._samples + self._corners
            at = ((cells + 0.5) / (GRID * self._samples)).astype(np.float32)
            flat = np.concatenate([LAMP_SIDE * (at - 0.5), np.zeros_like(at[:, :1])], axis=1)
            on_lamp = (flat + LAMP_POSITION).astype(np.float32)
            towards, squared = _unit(on_lamp[surface.place] - surface.points)
            yield towards, lamp * towards[:, 2].clip(min=0) / squared, False
            radius, angle = SPOT_RADIUS * np.sqrt(at[:, :1]), 2 * np.pi * at[:, 1:]
            on_spot = (spot + radius * (np.cos(angle) * side + np.sin(angle) * other)).astype(np.float32)
            towards, squared = _unit(on_spot[surface.place] - surface.points)
            inside = ((-_dot(towards, axis[None]) - edge) / ((1 - edge) * np.float32(SPOT_BLEND))).clip(0, 1)
            yield towards, inside * inside * (3 - 2 * inside) * bulb / squared, True


# Written out: a library's products of matrices differ in their last bit from one kind of processor to another.
def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The inner products of rows, ``(n,)``."""
    return np.asarray(a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2])


def _times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``rows @ matrix``, of ``(n, 3)`` and ``(3, 3)``."""
    return np.asarray(rows[:, :1] * matrix[0] + rows[:, 1:2] * matrix[1] + rows[:, 2:] * matrix[2])


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors, and the squared lengths."""
    squared = _dot(vectors, vectors)
    return vectors / np.sqrt(squared)[:, None], squared


def _passed(cosine: np.ndarray) -> np.ndarray:
    """What rubber's surface lets pass at an angle, by Schlick's form of Fresnel's formula."""
    x = 1 - cosine
    square = x * x
    return np.asarray(np.float32(1 - REFLECTANCE_AT_NORMAL) * (1 - square * square * x))


def _lobes(surface: _Surface, towards: np.ndarray, cosine: np.ndarray, cosine_out: np.ndarray) -> np.ndarray:
    """What metal reflects of light from ``towards`` to the camera, per steradian; of the metal points alone."""
    metal = surface.metal
    half, _ = _unit(towards[metal] + surface.views[metal])
    c, i, o = _dot(surface.normals[metal], half), cosine[metal].clip(min=1e-3), cosine_out[metal]
    total = np.zeros_like(c)
    for weight, alpha in LOBES:
        density = alpha**2 / (np.pi * (c**2 * (alpha**2 - 1) + 1) ** 2)
        masked = [2 * x / (x + np.sqrt(alpha**2 + (1 - alpha**2) * x**2)) for x in (i, o)]
        total += weight * density * masked[0] * masked[1] / (4 * i * o)
    return total


# sRGB's curve as the light at which each of the 255 steps is reached: a comparison has no rounding of its own.
_HALFWAY = (np.arange(255) + 0.5) / 255
_STEPS = np.where(_HALFWAY <= 0.04045, _HALFWAY / 12.92, ((_HALFWAY + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)


def _srgb(linear: np.ndarray) -> np.ndarray:
    """The nearest of sRGB's 256 values for linear light in [0, 1], uint8."""
    return np.searchsorted(_STEPS, linear, side="right").astype(np.uint8)
