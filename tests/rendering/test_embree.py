"""The ray tracer against closed forms and against itself."""

from dataclasses import replace

import numpy as np
import pytest

from mmcl.rendering.embree import (
    LAMP_POSITION,
    LAMP_POWER,
    REFLECTANCE_AT_NORMAL,
    SPOT_POWER,
    SUN,
    EmbreeRenderer,
)
from mmcl.rendering.latents import ImageText, pair_generator
from mmcl.rendering.meshes import Mesh
from mmcl.rendering.scene import GROUND, Camera, Material, euler, scene_of
from mmcl.rendering.shapes import ball, built_in, mesh_of

SPHERE = mesh_of([ball((0, 0, 0), (1, 1, 1))])
MESHES = built_in()


def scene(index=0, **changed):
    image = ImageText().draw(pair_generator(0, "train", index))["image"]
    return scene_of({**image, **changed}, continuous=False)


def linear(picture):
    x = picture / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def test_the_same_scene_is_the_same_bytes_in_any_order():
    scenes = [scene(i) for i in range(4)]
    one, two = EmbreeRenderer(MESHES, 32), EmbreeRenderer(MESHES, 32)
    first = [one.render(s).tobytes() for s in scenes]
    assert [two.render(s).tobytes() for s in reversed(scenes)] == first[::-1]
    assert len(set(first)) == 4


def test_turning_the_object_is_turning_its_mesh():
    """The renderer takes rays to the mesh: rotation and place must come out as if the mesh had been moved."""
    turn = euler(0.3, -0.8, 1.1)
    cow = MESHES[3]
    turned = Mesh(
        (cow.vertices @ turn.T).astype(np.float32), cow.triangles, (cow.normals @ turn.T).astype(np.float32)
    )
    given = replace(scene(0), shape=0, rotation=turn)
    moved = EmbreeRenderer([turned], 48).render(replace(given, rotation=np.eye(3)))
    found = EmbreeRenderer([cow], 48).render(given)
    # Rounding moves a few rays over an edge.
    assert (np.abs(found.astype(int) - moved).max(axis=2) > 2).mean() < 0.01
    other = EmbreeRenderer([cow], 48).render(replace(given, rotation=turn.T))
    assert (np.abs(other.astype(int) - moved).max(axis=2) > 2).mean() > 0.03


def test_the_object_is_where_the_camera_projects_it():
    at = replace(scene(0), shape=0, position=np.array([3.0, -3.0, 0.0]))
    renderer = EmbreeRenderer([SPHERE], 64)
    with_it = renderer.render(at).astype(int)
    without = EmbreeRenderer([replace(SPHERE, vertices=SPHERE.vertices * 1e-3)], 64).render(at)
    rows, columns = np.nonzero(np.abs(with_it - without).sum(axis=2) > 60)
    u, v = Camera().project(at.position[None])[0]
    near = (np.abs(columns - (u + 1) * 32) < 12) & (np.abs(rows - (1 - v) * 32) < 12)
    assert near.sum() > 100


def ground_point(renderer_size, row, column):
    """Where the ray through the middle of a pixel meets the ground, and its cosine there."""
    camera = Camera()
    u, v = (column + 0.5) / renderer_size * 2 - 1, 1 - (row + 0.5) / renderer_size * 2
    ray = camera.directions(np.array([u]), np.array([v]))[0]
    eye = np.array(camera.position)
    return eye + ray * (GROUND - eye[2]) / ray[2], -ray[2]


@pytest.mark.parametrize(("row", "column"), [(60, 5), (60, 60), (40, 3), (35, 61)])
def test_the_ground_without_shadow_or_spotlight_has_the_closed_forms_light(row, column):
    """Sun and lamp, the lamp's square by quadrature, through Lambert's law with Fresnel's loss both ways."""
    given = replace(scene(0), shape=0, position=np.zeros(3), ground_color=np.array([1.0, 0.6, 0.2]))
    small = replace(SPHERE, vertices=SPHERE.vertices * 0.1)
    picture = linear(EmbreeRenderer([small], 64, samples=2).render(given))
    point, out = ground_point(64, row, column)
    cells = (np.arange(40) + 0.5) / 40 - 0.5
    lamp = np.array([[x, y, 0] for x in cells for y in cells]) + LAMP_POSITION - point
    distance = np.linalg.norm(lamp, axis=1)
    cosine = lamp[:, 2] / distance
    passed = lambda c: (1 - REFLECTANCE_AT_NORMAL) * (1 - (1 - c) ** 5)  # noqa: E731
    irradiance = SUN * passed(1.0) + (LAMP_POWER / np.pi * cosine**2 / distance**2 * passed(cosine)).mean()
    expected = irradiance * passed(out) / np.pi * given.ground_color
    np.testing.assert_allclose(
        picture[row, column], expected, rtol=0.03
    )  # (a step of 8 bits is 1 to 2 % here)


def test_the_spotlight_lights_the_object_and_stops_at_its_cone():
    given = replace(scene(0, spotlight_pos=0.5), shape=0, position=np.zeros(3), ground_color=np.ones(3))
    small = replace(SPHERE, vertices=SPHERE.vertices * 0.1)
    render = EmbreeRenderer([small], 64).render
    bright, dark = (linear(render(replace(given, spot_color=c))) for c in (np.ones(3), np.zeros(3)))
    gain = (bright - dark)[:, :, 0]
    axis = -given.spot_position / np.linalg.norm(given.spot_position)
    angles = np.zeros((64, 64))
    for row in range(20, 64):
        for column in range(64):
            point, _ = ground_point(64, row, column)
            to = point - given.spot_position
            angles[row, column] = np.degrees(np.arccos(to @ axis / np.linalg.norm(to)))
    lower = np.zeros((64, 64), bool)
    lower[20:] = True
    assert (gain[lower & (angles > 21)] < 1e-3).all()  # 17.5 degrees, and what a lamp of this radius blurs
    inside = lower & (angles < 12) & (angles > 6)
    assert inside.sum() > 20
    row, column = np.argwhere(inside)[0]
    point, out = ground_point(64, row, column)
    to = given.spot_position - point
    distance = np.linalg.norm(to)
    cosine = to[2] / distance
    passed = (1 - REFLECTANCE_AT_NORMAL) ** 2 * (1 - (1 - cosine) ** 5) * (1 - (1 - out) ** 5)
    expected = SPOT_POWER / (4 * np.pi) / distance**2 * cosine * passed / np.pi + dark[row, column, 0]
    assert expected < 1  # (not white)
    assert bright[row, column, 0] == pytest.approx(expected, rel=0.05)


def test_an_object_throws_a_shadow_straight_down():
    """Below the object neither sun nor lamp is seen, and the spotlight (here black) does not help: it is black."""
    given = replace(scene(0), shape=0, position=np.zeros(3), spot_color=np.zeros(3), ground_color=np.ones(3))
    picture = EmbreeRenderer([SPHERE], 64).render(given)
    u, v = Camera().project(np.array([[0.5, 0.0, GROUND]]))[0]
    row, column = int((1 - v) * 32), int((u + 1) * 32)
    assert picture[row, column].max() == 0
    assert picture[row, 2].min() > 60


def test_the_material_and_each_colour_is_seen():
    given = scene(1)
    renderer = EmbreeRenderer(MESHES, 48)
    base = renderer.render(given).astype(int)
    for changed in (
        replace(given, material=Material.metal),
        replace(given, color=np.array([0.1, 0.9, 0.3])),
        replace(given, ground_color=np.array([0.1, 0.9, 0.3])),
        replace(given, spot_color=np.array([0.1, 0.9, 0.3])),
    ):
        assert (np.abs(renderer.render(changed) - base).max(axis=2) > 8).sum() > 15


@pytest.mark.parametrize(("size", "samples", "named"), [(4, 2, "size=4"), (64, 0, "samples=0")])
def test_sizes_out_of_range_are_named(size, samples, named):
    with pytest.raises(ValueError, match=named):
        EmbreeRenderer(MESHES, size, samples)
