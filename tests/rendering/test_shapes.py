import numpy as np
import pytest
from scipy.spatial import KDTree

from mmcl.rendering.meshes import fitted
from mmcl.rendering.scene import RADIUS
from mmcl.rendering.shapes import ball, built_in, limb, mesh_of, patch, teapot

BOX = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 3)], dtype=float)
FACE = np.array([[0, 1, 2], [1, 3, 2]])


def test_every_shape_fills_the_ball_it_is_fitted_to():
    meshes = built_in()
    assert len(meshes) == 7
    for mesh in meshes:
        radii = np.linalg.norm(mesh.vertices, axis=1)
        assert radii.max() == pytest.approx(RADIUS, rel=1e-6)
        assert np.isfinite(mesh.normals).all()
        np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
        assert mesh.triangles.max() < len(mesh.vertices)


def test_the_shapes_are_made_the_same_every_time():
    for one, two in zip(built_in(), built_in(), strict=True):
        assert one.vertices.tobytes() == two.vertices.tobytes()
        assert one.triangles.tobytes() == two.triangles.tobytes()


def test_the_teapot_has_newells_measures_and_is_symmetric():
    vertices = np.concatenate([v for v, _ in teapot(16)])
    assert len(teapot(1)) == 32
    # Handle to spout 6.4, the lid's top 3.15, the body's width 4.
    assert np.ptp(vertices[:, 0]) == pytest.approx(6.43, abs=0.03)
    np.testing.assert_allclose([vertices[:, 2].min(), vertices[:, 2].max()], [0, 3.15], atol=1e-9)
    np.testing.assert_allclose([vertices[:, 1].min(), vertices[:, 1].max()], [-2, 2], atol=5e-3)
    distance, _ = KDTree(vertices).query(vertices * [1, -1, 1])
    assert distance.max() < 1e-9


def test_the_teapots_patches_join():
    """An edge of the body's patches belongs to two triangles, but for the rims above and below."""
    vertices = np.concatenate([v for v, _ in teapot(4)[4:12]])  # the body's eight
    triangles = np.concatenate([t + 25 * k for k, (_, t) in enumerate(teapot(4)[4:12])])
    _, same = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    edges = np.sort(
        np.concatenate([same.reshape(-1)[triangles][:, p] for p in ([0, 1], [1, 2], [2, 0])]), axis=1
    )
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 1).sum() == 2 * 4 * 4  # four quarters of four steps


def test_a_flat_patch_is_flat_and_a_patchs_corners_are_its_control_points():
    grid = np.array([[[x, y, 0.0] for y in range(4)] for x in range(4)])
    vertices, triangles = patch(grid, 3)
    assert (vertices[:, 2] == 0).all()
    np.testing.assert_allclose(vertices[[0, 3, 12, 15]], grid[[0, 0, 3, 3], [0, 3, 0, 3]])
    np.testing.assert_allclose(
        vertices.reshape(4, 4, 3), grid, atol=1e-12
    )  # evenly spaced points make the identity
    assert len(triangles) == 18


def test_balls_and_limbs_have_their_measures_and_normals_point_out():
    vertices, _ = ball((1, 2, 3), (0.5, 1, 2))
    np.testing.assert_allclose(np.ptp(vertices, axis=0), [1, 2, 4])
    np.testing.assert_allclose((vertices.max(axis=0) + vertices.min(axis=0)) / 2, [1, 2, 3])
    vertices, _ = limb((0, 0, 0), (0, 0, 4), 1, 0.5)
    np.testing.assert_allclose([vertices[:, 2].min(), vertices[:, 2].max()], [-1, 4.5])
    for part in (ball((0, 0, 0), (1, 1, 1)), limb((0, 0, -1), (0, 0, 1), 0.7, 0.7)):
        mesh = mesh_of([part])
        assert (np.einsum("ij,ij->i", mesh.vertices, mesh.normals) > 0).all()


def test_normals_are_smooth_over_a_seam():
    mesh = mesh_of([ball((0, 0, 0), (1, 1, 1))])
    out = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert np.einsum("ij,ij->i", out, mesh.normals).min() > 0.98
    assert len(np.unique(np.round(mesh.vertices, 4), axis=0)) == len(mesh.vertices)


@pytest.mark.parametrize(
    ("vertices", "triangles", "named"),
    [
        (BOX, np.zeros((0, 3), int), "triangles"),
        (BOX, np.array([[0, 1, 8]]), "indices of the 8 vertices"),
        (BOX * np.nan, FACE, "finite"),
        (BOX * 0, FACE, "all in one place"),
    ],
)
def test_a_mesh_that_is_none_is_refused(vertices, triangles, named):
    with pytest.raises(ValueError, match=named):
        fitted(vertices, triangles)
