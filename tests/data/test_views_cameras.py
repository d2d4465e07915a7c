"""Azimuths from cameras, against the archive's own matrix and hand-made ones."""

import io

import numpy as np
import pytest

from jaxgrow.data.views.cameras import azimuths_of, find_views, read_eyes
from jaxgrow.errors import UserError
from tests.support.nmr_archive import AZIMUTHS, cameras_npz, world_mat


WORLD_MAT_0 = [  # of the published archive
    [0.0, 0.0, -1.0, 0.0],
    [0.5, -0.86602539, 0.0, 0.0],
    [-0.86602539, -0.49999997, 0.0, 2.73199987],
    [0.0, 0.0, 0.0, 1.0],
]
SWAP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up to z up


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def eyes_at(azimuths):
    return read_eyes(cameras_npz(azimuths), "x")


def test_the_archives_own_matrix_says_front():
    np.testing.assert_allclose(world_mat(0), WORLD_MAT_0, atol=1e-6)
    eyes = read_eyes(npz(world_mat_0=np.array(WORLD_MAT_0)), "x")
    expected = 2.732 * np.array([[3**0.5 / 2, 0.5, 0]])
    np.testing.assert_allclose(eyes, expected, atol=1e-6)
    np.testing.assert_allclose(azimuths_of(eyes, "x"), [0.0], atol=1e-4)


def test_eyes_follow_katos_script():
    a, e = np.radians(AZIMUTHS), np.radians(30.0)
    expected = 2.732 * np.stack(
        [np.cos(a) * np.cos(e), np.full(24, np.sin(e)), np.sin(a) * np.cos(e)], axis=1
    )
    np.testing.assert_allclose(eyes_at(AZIMUTHS), expected, atol=1e-5)
    found = azimuths_of(expected, "x")
    np.testing.assert_allclose(found, AZIMUTHS, atol=1e-4)


def test_matrices_of_three_rows_and_inverses_alone_are_read():
    worlds = [world_mat(15.0 * k) for k in range(4)]
    rows = npz(**{f"world_mat_{k}": w[:3] for k, w in enumerate(worlds)})
    inverses = npz(
        **{f"world_mat_inv_{k}": np.linalg.inv(w) for k, w in enumerate(worlds)}
    )
    for content in (rows, inverses):
        found = azimuths_of(read_eyes(content, "x"), "x")
        np.testing.assert_allclose(found, [0, 15, 30, 45], atol=1e-4)


def test_the_cameras_own_axes_do_not_matter():
    flip = np.diag([1.0, -1.0, -1.0, 1.0])  # as OpenGL has them
    content = npz(**{f"world_mat_{k}": flip @ world_mat(90.0 * k) for k in range(4)})
    found = azimuths_of(read_eyes(content, "x"), "x")
    np.testing.assert_allclose(found, [0, 90, 180, 270], atol=1e-4)


def test_a_world_with_z_up_gives_the_same_azimuths():
    eyes = eyes_at(AZIMUTHS) @ SWAP.T
    np.testing.assert_allclose(azimuths_of(eyes, "x") % 360, AZIMUTHS, atol=1e-3)


@pytest.mark.parametrize(
    "eyes",
    [
        np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
        np.array([[1.0, -1, 0], [0, -1, 1], [-1, -1, 0]]),
    ],
)
def test_cameras_that_stand_in_no_ring_above_ground_are_refused(eyes):
    with pytest.raises(UserError, match=r"^cameras x do not stand in a ring above"):
        azimuths_of(eyes, "x")


def test_views_are_found_by_azimuth_also_across_zero():
    azimuths = np.array([270.0, 180.0, 359.6, 90.4])
    assert find_views(azimuths, (0.0, 180.0, 90.0, 270.0), "x") == (2, 1, 3, 0)


def test_an_azimuth_that_no_camera_has_is_refused():
    with pytest.raises(UserError, match=r"no view at azimuth 90 .*nearest is at 100\)"):
        find_views(np.array([0.0, 100.0]), (0.0, 90.0), "cameras.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        b"",
        npz(other=np.eye(4)),
        npz(world_mat_0=np.zeros((4, 4))),
        npz(world_mat_0=np.eye(2)),
        cameras_npz()[:500],
        np.lib.format.magic(1, 0),
        npz(world_mat_0=np.zeros((2048, 2048), np.uint8)),
    ],
)
def test_cameras_that_cannot_be_read_are_refused(content):
    with pytest.raises(UserError, match=r"^cameras here\.npz cannot be read .*replace"):
        read_eyes(content, "here.npz")


def test_a_plain_array_is_no_cameras_file():
    content = io.BytesIO()
    np.save(content, np.eye(4))
    with pytest.raises(UserError, match=r"^cameras here\.npz cannot be read"):
        read_eyes(content.getvalue(), "here.npz")
