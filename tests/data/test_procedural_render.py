"""The camera and the ray caster against shapes whose picture is known."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from jaxgrow.data.procedural.builder import Builder, make_scene
from jaxgrow.data.procedural.camera import AZIMUTHS_24, camera
from jaxgrow.data.procedural.paints import BLACK, WHITE, checks, lines
from jaxgrow.data.procedural.render import render
from jaxgrow.data.procedural.solids import Solid, rotation


SIZE = 64
INK = (0.0, 0.0, 0.0)  # stays black under any light, so that white minus it is coverage
GREY = (0.5, 0.5, 0.5)

azimuths = st.floats(0, 360)
angles = st.floats(-math.pi, math.pi)
turns = st.builds(lambda y, p, r: rotation(yaw=y, pitch=p, roll=r), *[angles] * 3)
sides = st.floats(0.2, 1.0)
sizes = st.tuples(sides, sides, sides)


def solid_of(build) -> Solid:
    builder = Builder()
    build(builder)
    return builder.solids[0]


def draw_scene(build):
    builder = Builder()
    build(builder)
    return make_scene(builder.solids)


def view(build, azimuth=0.0, size=SIZE):
    return render(draw_scene(build), camera(azimuth), size)


def coverage(image):
    """Part of each pixel that ink covers."""
    return 1 - image[..., 0] / 255


def look_at(points, azimuth):
    """Pixels of points, from the definition of a camera that looks at the origin."""
    a, e, distance = math.radians(azimuth), math.radians(30), 2.732
    eye = np.array([math.cos(a) * math.cos(e), math.sin(e), math.sin(a) * math.cos(e)])
    right = np.cross(-eye, [0, 1, 0])
    right /= np.linalg.norm(right)
    up = np.cross(right, -eye)
    relative = np.asarray(points) - distance * eye
    depth = relative @ -eye * math.tan(math.radians(15))
    u, v = relative @ right / depth, relative @ up / depth
    return np.stack([(1 + u) * SIZE / 2, (1 - v) * SIZE / 2], axis=1)


def placed(solid: Solid, points):
    """Points of a lone solid's frame in the world that `make_scene` scales it to."""
    back = make_scene([solid]).to_unit[0]
    return (points - back[:, 3]) @ np.linalg.inv(back[:, :3]).T


def assert_silhouette(solid, points, azimuth):
    """The solid covers the convex hull of the pictures of `points`.

    Rays are half a pixel apart: an edge along a row of them is off by up to a quarter.
    """
    image = render(make_scene([solid]), camera(azimuth), SIZE)
    corners = look_at(placed(solid, points), azimuth)
    hull = ConvexHull(corners)
    covered = coverage(image)
    area, perimeter = hull.volume, hull.area
    np.testing.assert_allclose(covered.sum(), area, rtol=0, atol=0.25 * perimeter)
    rows, columns = np.nonzero(covered > 0)
    middle = corners[hull.vertices]
    assert abs(columns.min() - middle[:, 0].min()) < 1.5
    assert abs(columns.max() + 1 - middle[:, 0].max()) < 1.5
    assert abs(rows.min() - middle[:, 1].min()) < 1.5
    assert abs(rows.max() + 1 - middle[:, 1].max()) < 1.5


def circle(radius, height, count=200):
    angle = np.linspace(0, 2 * np.pi, count)
    x, z = radius * np.cos(angle), radius * np.sin(angle)
    return np.stack([x, np.full(count, height), z], axis=1)


@pytest.mark.parametrize("azimuth", [0.0, 77.0])
def test_a_balls_outline_has_the_radius_of_its_tangent_cone(azimuth):
    image = view(lambda b: b.ball((3, 2, 1), (1, 1, 1), INK), azimuth)
    radius = math.tan(math.asin(0.5 / 2.732)) / math.tan(math.radians(15)) * SIZE / 2
    area = coverage(image).sum()
    assert math.sqrt(area / math.pi) == pytest.approx(radius, abs=0.08)
    rows, columns = np.nonzero(coverage(image) > 0.5)
    assert rows.mean() == pytest.approx((SIZE - 1) / 2, abs=0.1)
    assert columns.mean() == pytest.approx((SIZE - 1) / 2, abs=0.1)


def test_the_eye_of_view_k_is_where_nmr_puts_it():
    for k, azimuth in enumerate(AZIMUTHS_24):
        a, e = math.radians(15 * k), math.radians(30)
        eye = [math.cos(a) * math.cos(e), math.sin(e), math.sin(a) * math.cos(e)]
        np.testing.assert_allclose(camera(azimuth).eye, 2.732 * np.array(eye))


@settings(deadline=None, max_examples=30)
@given(size=sizes, turn=turns, azimuth=azimuths, lean=st.floats(-0.3, 0.45))
def test_a_tapered_box_covers_the_hull_of_its_corners(size, turn, azimuth, lean):
    taper = (lean, 0.1, 0.0, lean)
    solid = solid_of(lambda b: b.box((1, 2, 3), size, INK, turn=turn, taper=taper))
    bottom = [(x, -0.5, z) for x in (-0.5, 0.5) for z in (-0.5, 0.5)]
    top = [(x, 0.5, z) for x in (-0.5 + lean, 0.4) for z in (-0.5, 0.5 - lean)]
    assert_silhouette(solid, np.array(bottom + top), azimuth)


@settings(deadline=None, max_examples=40)
@example(size=(1.0, 1.0, 1.0), turn=rotation(), azimuth=0.0, top=0.0)
@given(size=sizes, turn=turns, azimuth=azimuths, top=st.floats(0.1, 3))
def test_a_cone_covers_the_hull_of_its_rims(size, turn, azimuth, top):
    """The tip of a flat cone would slip between the rays."""
    options = {"flat": size[2] / size[0], "turn": turn, "top": top}
    solid = solid_of(lambda b: b.cylinder((1, 2, 3), *size[:2], INK, **options))
    bottom, upper = 0.5 / max(top, 1), 0.5 * min(top, 1)
    rims = np.concatenate([circle(bottom, -0.5), circle(upper, 0.5)])
    assert_silhouette(solid, rims, azimuth)


@settings(deadline=None, max_examples=20)
@given(size=sizes, turn=turns, azimuth=azimuths, low=st.floats(-0.49, 0.1))
def test_a_cut_ellipsoid_covers_the_hull_of_its_slices(size, turn, azimuth, low):
    high = 0.3
    cut = (low, high)
    solid = solid_of(lambda b: b.ball((0, 0, 0), size, INK, turn=turn, cut=cut))
    heights = np.linspace(low, high, 40)
    slices = [circle(math.sqrt(0.25 - y * y), y) for y in heights]
    assert_silhouette(solid, np.concatenate(slices), azimuth)


@settings(deadline=None, max_examples=20)
@given(turn=turns, azimuth=azimuths, pull=st.floats(-0.2, 0.4))
def test_a_prism_covers_the_hull_of_its_outline(turn, azimuth, pull):
    outline = [(-0.5, -0.3), (0.5, -0.2), (0.4 + pull / 2, 0.3), (-0.1, 0.5 + pull)]
    solid = solid_of(lambda b: b.plate(outline, 0.3, INK, turn=turn))
    points = np.array([(x, y, z) for x, y in outline for z in (-0.15, 0.15)])
    extent = np.ptp(points, axis=0)
    unit = (points - points.min(axis=0)) / extent - 0.5
    assert_silhouette(solid, unit, azimuth)


@pytest.mark.parametrize("top", [0.0, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("sense", [-1, 1])
def test_an_eye_on_the_axis_of_a_cone_sees_its_end_and_no_false_side(top, sense):
    eye = camera(0.0).eye / np.linalg.norm(camera(0.0).eye)
    turn = rotation(pitch=math.atan2(eye[1], eye[0]) - sense * math.pi / 2)
    options = {"turn": turn, "top": top}
    solid = solid_of(lambda b: b.cylinder((0, 0, 0), 0.3, 0.9, INK, **options))
    bottom, upper = 0.5 / max(top, 1), 0.5 * min(top, 1)
    rims = np.concatenate([circle(bottom, -0.5), circle(upper, 0.5)])
    assert_silhouette(solid, rims, 0.0)


def test_outlines_lie_in_the_plane_that_is_named():
    for plane, axes in {"xy": (0, 1, 2), "zy": (2, 1, 0), "xz": (0, 2, 1)}.items():
        for outline in ([(0, 0), (2, 0), (0, 1)], [(0, 0), (0, 1), (2, 0)]):
            builder = Builder()
            builder.plate(outline, 0.1, INK, plane=plane, at=(5, 6, 7))
            solid = builder.solids[0]
            points = solid.hull @ solid.frame.T + solid.centre - [5, 6, 7]
            first, second, third = axes
            np.testing.assert_allclose(points[:, first].max(), 2)
            np.testing.assert_allclose(points[:, first].min(), 0, atol=1e-12)
            np.testing.assert_allclose(points[:, second].max(), 1)
            np.testing.assert_allclose(np.abs(points[:, third]), 0.05)
            assert np.linalg.det(solid.frame) > 0


def test_a_rod_runs_from_start_to_end():
    for end in [(1.0, 0, 0), (0, 0, 2.0), (0.3, -0.4, 0.5)]:
        builder = Builder()
        builder.rod((0.1, 0.2, 0.3), end, 0.1, INK, top=2.0)
        solid = builder.solids[0]
        ends = [solid.frame @ [0, y, 0] + solid.centre for y in (-0.5, 0.5)]
        np.testing.assert_allclose(ends, [(0.1, 0.2, 0.3), end], atol=1e-12)
        np.testing.assert_allclose(solid.frame[:, 0] @ solid.frame[:, 1], 0, atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(solid.frame[:, 0]), 0.2)


def two_balls(builder):
    builder.ball((0.3, 0, 0), (0.4, 0.4, 0.4), (1.0, 0.0, 0.0))
    builder.ball((-0.3, 0, 0), (0.4, 0.4, 0.4), (0.0, 0.0, 1.0))


def test_the_front_is_at_plus_x_and_hides_what_is_behind():
    for azimuth, seen, hidden in [(0.0, 0, 2), (180.0, 2, 0)]:
        image = view(two_balls, azimuth).astype(int)
        lower = image[SIZE // 2 + 6, SIZE // 2]
        assert lower[seen] > 100
        assert lower[hidden] == 0


def test_seen_from_the_right_the_front_is_on_the_right():
    image = view(two_balls, 90.0)
    assert image[32, 44, 0] > 100
    assert image[32, 44, 2] == 0
    assert image[32, 20, 2] > 100


def test_order_of_the_solids_does_not_matter():
    def swapped(builder):
        two_balls(builder)
        builder.solids.reverse()

    np.testing.assert_array_equal(view(two_balls, 20.0), view(swapped, 20.0))


def test_the_top_of_a_box_has_the_light_of_the_formula():
    image = view(lambda b: b.box((0, 0, 0), (1, 0.1, 1), GREY))
    lamp = np.array([4.08, 5.9, -1.0])
    towards_eye = math.sin(math.radians(30))
    light = 0.5 + 0.45 * lamp[1] / np.linalg.norm(lamp) + 0.18 * towards_eye
    np.testing.assert_allclose(image[32, 32], 255 * 0.5 * light, atol=1)


def test_a_ball_is_lit_by_its_normals():
    image = view(lambda b: b.ball((0, 0, 0), (1, 1, 1), GREY))
    normal = camera(0.0).eye / np.linalg.norm(camera(0.0).eye)
    lamp = np.array([4.08, 5.9, -1.0])
    light = 0.5 + 0.45 * normal @ lamp / np.linalg.norm(lamp) + 0.18
    np.testing.assert_allclose(image[31:33, 31:33].mean(), 127.5 * light, atol=1)


def test_views_half_a_turn_apart_of_a_point_symmetric_object_are_mirror_images():
    def build(builder):
        for side in (-1, 1):
            builder.box((side * 0.3, 0, side * 0.1), (0.3, 0.5, 0.2), INK)
            builder.rod((0, 0, 0), (side * 0.4, 0.4, side * 0.2), 0.06, INK)

    for azimuth in (0.0, 35.0):
        np.testing.assert_array_equal(view(build, azimuth), view(build, azimuth + 180))


def test_left_and_right_views_of_a_symmetric_object_are_mirror_images():
    def build(builder):
        builder.box((0.1, 0, 0), (0.8, 0.3, 0.4), INK, taper=(0.3, 0.1, 0.1, 0.1))
        for side in (-1, 1):
            builder.cylinder((0.2, 0.1, side * 0.3), 0.2, 0.1, INK, axis="z")

    for azimuth in (90.0, 20.0):
        right, left = view(build, azimuth), view(build, -azimuth)
        np.testing.assert_allclose(coverage(right), coverage(left)[:, ::-1], atol=1e-6)


def test_a_coarse_view_is_the_mean_of_a_finer_one():
    def build(builder):
        builder.ball((0, 0, 0), (1, 0.4, 0.6), INK)

    fine = coverage(view(build, 30.0, 256)).reshape(SIZE, 4, SIZE, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(coverage(view(build, 30.0)), fine, atol=0.3)
    np.testing.assert_allclose(coverage(view(build, 30.0)).sum(), fine.sum(), rtol=0.01)


def test_checks_and_lines_follow_the_solids_axes():
    def halves(builder):
        builder.box((0, 0, 0), (0.1, 1, 1), checks(WHITE, BLACK, z=2))

    front = view(halves)
    assert front[40, 20].min() < 40  # +z, the object's right, is on the left from here
    assert front[40, 44].min() > 150

    def stripe(builder):
        builder.box((0, 0, 0), (0.1, 1, 1), lines(WHITE, BLACK, y=1, width=0.2))

    middle = view(stripe)[:, 32].max(axis=1)
    dark = np.flatnonzero(middle < 60)
    assert 6 <= len(dark) <= 10
    assert abs(dark.mean() - 31.5) < 3


def test_the_ends_of_a_line_pattern_stay_plain():
    def build(builder):
        builder.box((0, 0, 0), (1, 0.1, 1), lines(WHITE, BLACK, y=3, width=0.5))

    top = view(build)[28:36, 28:36]
    assert top.min() > 150


def test_no_picture_of_the_largest_cube_touches_the_edge():
    for azimuth in (0.0, 45.0, 80.0):
        covered = coverage(view(lambda b: b.box((0, 0, 0), (2, 2, 2), INK), azimuth))
        border = [covered[0], covered[-1], covered[:, 0], covered[:, -1]]
        assert np.max(border) == 0


def test_an_object_without_solids_is_refused():
    with pytest.raises(ValueError, match="at least one solid"):
        make_scene([])
