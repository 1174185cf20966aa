"""One scene for every backend: what a row of factors looks like in world coordinates.

The world is that of Multimodal3DIdent: x points to the viewer and down the image, y to its right, z up. The camera
stands at (8, 0, 8) and looks at the origin; object positions are 3 apart; the ground is a plane. Lights shine directly
only, nothing is reflected twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from mmcl.rendering.colours import HueMode, light_rgb, object_rgb

RADIUS = 2.6
"""Radius of the ball that holds any object: meshes are scaled to it, so that neither size nor shadow tells the shape
more than its form does. (In the published set the ground's height is the shape's largest dimension, and tells it.)"""

GROUND = -4.5
"""z of the ground, below the origin by what it is in the published set for the teapot (4.44); lower than any object."""

HEIGHT = 1.5
"""Objects with a z-position stand between -HEIGHT and HEIGHT."""

SUN = 0.5
"""Irradiance of the sun, which stands above."""

LAMP_POSITION, LAMP_SIDE, LAMP_POWER = (0.0, 0.0, 7.0), 1.0, 39.27
"""A square lamp that faces down: side and power in watts."""

SPOT_POWER, SPOT_RADIUS, SPOT_ANGLE, SPOT_BLEND = 3000.0, 0.5, math.radians(35), 0.1
"""The spotlight: power (if it shone everywhere), radius, full angle of its cone, and the share that is blurred."""


class Material(Enum):
    """The surface of the object; the ground is always rubber."""

    rubber = "rubber"
    metal = "metal"


@dataclass(frozen=True)
class Camera:
    """A pinhole with a square picture. ``fov``: the angle of view from side to side, in radians."""

    position: tuple[float, float, float] = (8.0, 0.0, 8.0)
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fov: float = 2 * math.atan(25 / 35)  # 35 mm before 50 mm of film

    @cached_property
    def axes(self) -> np.ndarray:
        """Rows: the image's right, its up, and forward; ``(3, 3)``, orthonormal."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(right, forward), forward])

    def directions(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Unit rays ``(n, 3)`` through image points: u from left (-1) to right (1), v from bottom (-1) to top (1)."""
        tangent = math.tan(self.fov / 2)
        rays = np.stack([u * tangent, v * tangent, np.ones_like(u)], axis=-1) @ self.axes
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Where ``(n, 3)`` points of the world are seen: ``(n, 2)`` of u and v."""
        seen = (points - np.array(self.position)) @ self.axes.T
        return seen[:, :2] / seen[:, 2:] / math.tan(self.fov / 2)


@dataclass(frozen=True)
class Scene:
    """What is rendered.

    Fields:
        shape: which mesh, 0 to 6.
        rotation: ``(3, 3)``, of the object; columns are its axes in the world.
        position: ``(3,)``, of the object's centre.
        color: of the object, linear RGB.
        ground_color, spot_color: linear RGB, of the ground and of the spotlight (a component may exceed 1).
        spot_position: ``(3,)``; the spotlight points at the object.
        material: of the object.
    """

    shape: int
    rotation: np.ndarray
    position: np.ndarray
    color: np.ndarray
    ground_color: np.ndarray
    spot_color: np.ndarray
    spot_position: np.ndarray
    material: Material = Material.rubber


def euler(alpha: float, beta: float, gamma: float) -> np.ndarray:
    """The rotation about x by alpha, then y by beta, then z by gamma (radians): ``(3, 3)``.

    >>> euler(0.0, 0.0, math.pi / 2).round(6) @ [1.0, 0.0, 0.0]
    array([0., 1., 0.])
    """
    (ca, cb, cc), (sa, sb, sc) = ([f(a) for a in (alpha, beta, gamma)] for f in (math.cos, math.sin))
    x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return np.asarray(z @ y @ x)


def scene_of(
    factors: Mapping[str, float | int | str],
    *,
    continuous: bool,
    material: Material = Material.rubber,
    hue_mode: HueMode = HueMode.original,
) -> Scene:
    """The scene of an image's factors (columns of ``latents_image.csv``).

    Angles u become ``pi u - pi / 2``. Positions 0, 1, 2 (``continuous``: u in [0, 1]) become -3, 0, 3 (``6 u - 3``);
    x is the image's horizontal. The z-position is 0 or, continuous, ``HEIGHT (2 u - 1)``. The spotlight stands 10.5
    above the origin on a half circle of radius 4, from behind (0) by the image's right to the front (1).
    """

    def number(name: str) -> float:
        return float(factors[name])

    def place(name: str) -> float:
        return 6 * number(name) - 3 if continuous else 3 * number(name) - 3

    angles = [math.pi * number(f"object_{name}rot") - math.pi / 2 for name in ("alpha", "beta", "gamma")]
    theta = math.pi * number("spotlight_pos") - math.pi / 2
    height = HEIGHT * (2 * number("object_zpos") - 1) if continuous else number("object_zpos")
    return Scene(
        shape=int(factors["object_shape"]),
        rotation=euler(*angles),
        position=np.array([place("object_ypos"), place("object_xpos"), height]),
        color=np.array(object_rgb(number("object_color"))),
        ground_color=np.array(light_rgb(number("background_color"), 0.6, hue_mode)),
        spot_color=np.array(light_rgb(number("spotlight_color"), 0.8, hue_mode)),
        spot_position=np.array([4 * math.sin(theta), 4 * math.cos(theta), 6 - GROUND]),
        material=material,
    )
