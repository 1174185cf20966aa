import math

import numpy as np
import pytest

from mmcl.rendering.latents import ImagePairs, ImageText, pair_generator
from mmcl.rendering.scene import HEIGHT, Camera, euler, scene_of


def factors(**changed):
    return {**ImageText().draw(pair_generator(0, "train", 0))["image"], **changed}


def test_the_camera_sees_the_origin_in_the_middle_and_its_axes_are_the_images():
    camera = Camera()
    assert math.degrees(camera.fov) == pytest.approx(71.08, abs=0.005)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)
    # Down the image is +x, right is +y, up is +z.
    seen = camera.project(np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]], dtype=float))
    np.testing.assert_allclose(seen[0], 0, atol=1e-12)
    assert seen[1, 1] < -0.1
    assert seen[2, 0] > 0.1
    assert seen[3, 1] > 0.1
    np.testing.assert_allclose(seen[[1, 3], 0], 0, atol=1e-12)
    # A point at half the angle of view is at the picture's edge.
    edge = camera.axes[2] + math.tan(camera.fov / 2) * camera.axes[0] + np.array(camera.position)
    assert camera.project(edge[None])[0, 0] == pytest.approx(1)


def test_rays_go_through_the_points_they_are_asked_for():
    camera = Camera()
    u, v = (x.ravel() for x in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)))
    rays = camera.directions(u, v)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1)
    seen = camera.project(np.array(camera.position) + 7 * rays)
    np.testing.assert_allclose(seen, np.stack([u, v], axis=1), atol=1e-12)


def test_a_rotation_turns_about_x_then_y_then_z():
    quarter = math.pi / 2
    np.testing.assert_allclose(euler(quarter, 0, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(euler(0, quarter, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    # y -> z by the first, z -> x by the second, x -> y by the third.
    np.testing.assert_allclose(euler(quarter, quarter, quarter) @ [0, 1, 0], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize(("pos", "place"), [(0, -3), (1, 0), (2, 3)])
def test_positions_of_three_classes(pos, place):
    scene = scene_of(factors(object_xpos=pos, object_ypos=1), continuous=False)
    assert scene.position.tolist() == [0, place, 0]
    scene = scene_of(factors(object_xpos=1, object_ypos=pos), continuous=False)
    assert scene.position.tolist() == [place, 0, 0]


@pytest.mark.parametrize(("u", "place", "height"), [(0.0, -3, -HEIGHT), (0.5, 0, 0), (1.0, 3, HEIGHT)])
def test_continuous_positions(u, place, height):
    image = ImagePairs().draw(pair_generator(0, "train", 0))["image1"]
    scene = scene_of({**image, "object_xpos": u, "object_ypos": u, "object_zpos": u}, continuous=True)
    assert scene.position.tolist() == [place, place, height]


@pytest.mark.parametrize(("u", "spot"), [(0.0, (-4, 0, 10.5)), (0.5, (0, 4, 10.5)), (1.0, (4, 0, 10.5))])
def test_angles_in_0_1_are_half_a_turn(u, spot):
    scene = scene_of(
        factors(spotlight_pos=u, object_alpharot=0.5, object_betarot=0.5, object_gammarot=u), continuous=False
    )
    np.testing.assert_allclose(scene.spot_position, spot, atol=1e-12)
    np.testing.assert_allclose(scene.rotation, euler(0, 0, math.pi * (u - 0.5)), atol=1e-12)
