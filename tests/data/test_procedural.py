"""The thirteen classes: what they look like is pinned, and what must hold of any."""

import importlib
import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.data import procedural
from jaxgrow.data.procedural import CLASSES, render_object, render_objects
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.objects import object_scene
from jaxgrow.errors import UserError


GOLDENS = Path(__file__).parents[1] / "goldens" / "procedural.json"
GOLDEN_AZIMUTHS = (30.0, 200.0)
FIRST_DRAWS = (0.8817035384837327, 0.28917661385918403)
PARTS = {"airplane": ["airplane_parts"], "table": ["legs"]}
FOUR = (0.0, 180.0, 90.0, 270.0)


def block_means(views):
    """Means of 8x8 blocks, so that a golden is small and one ray matters little."""
    blocks = views.reshape(len(views), 8, 8, 8, 8, 3).astype(float)
    return np.round(blocks.mean(axis=(2, 4)))


def golden(name):
    """The picture of `tests/goldens/procedural.json`, as hexadecimal digits."""
    views = render_object(name, 3, seed=0, azimuths=GOLDEN_AZIMUTHS)
    return [view.astype(np.uint8).tobytes().hex() for view in block_means(views)]


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_of_each_class_is_its_golden(name):
    recorded = json.loads(GOLDENS.read_text())
    assert recorded["version"] == procedural.VERSION
    for now, before in zip(golden(name), recorded[name], strict=True):
        now, before = (np.frombuffer(bytes.fromhex(x), np.uint8) for x in (now, before))
        np.testing.assert_allclose(now.astype(int), before.astype(int), atol=1)


def test_the_classes_are_nmrs():
    names = "airplane bench cabinet car chair display lamp loudspeaker rifle sofa table"
    assert (*names.split(), "telephone", "vessel") == CLASSES


def test_a_view_does_not_depend_on_the_others():
    together = render_object("car", 4, seed=1, azimuths=FOUR)
    for azimuth, view in zip(FOUR, together, strict=True):
        alone = render_object("car", 4, seed=1, azimuths=[azimuth])
        np.testing.assert_array_equal(alone[0], view)


def test_class_index_and_seed_each_make_another_object():
    def picture(name="chair", index=0, seed=0):
        return render_object(name, index, seed=seed, azimuths=[30], size=16).tobytes()

    assert picture() == picture()
    others = {picture(index=1), picture(seed=1), picture(name="table"), picture()}
    assert len(others) == 4


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(CLASSES), index=st.integers(0, 10**6), seed=st.integers(0, 9)
)
def test_any_object_stands_inside_a_white_picture(name, index, seed):
    views = render_object(name, index, seed=seed, azimuths=(0, 50, 180, 265))
    assert views.shape == (4, 64, 64, 3)
    assert views.dtype == np.uint8
    border = [views[:, 0], views[:, -1], views[:, :, 0], views[:, :, -1]]
    assert np.min(border) == 255
    is_object = (views < 250).any(axis=-1)
    assert is_object.mean(axis=(1, 2)).min() > 0.003


def lines_of(code):
    """(file, line) of all code of a function and of the functions in it."""
    found = {(code.co_filename, line) for *_, line in code.co_lines() if line}
    for const in code.co_consts:
        if hasattr(const, "co_lines"):
            found |= lines_of(const)
    return found


def lines_of_module(name):
    module = importlib.import_module(f"jaxgrow.data.procedural.classes.{name}")
    functions = [inspect.unwrap(f) for f in vars(module).values() if callable(f)]
    codes = [f.__code__ for f in functions if inspect.isfunction(f)]
    own = [code for code in codes if code.co_filename == module.__file__]
    return set().union(*map(lines_of, own))


@pytest.mark.parametrize("name", CLASSES)
def test_every_line_of_a_class_is_reached_by_some_object(name):
    """So no style, part or paint is dead, and none of them warns."""
    missing = set().union(*map(lines_of_module, [name, *PARTS.get(name, [])]))
    assert len(missing) > 30
    files = {file for file, _ in missing}

    def trace(frame, event, _):
        missing.discard((frame.f_code.co_filename, frame.f_lineno))
        return trace if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for index in range(300):
            object_scene(name, index, seed=0)
            if not missing:
                break
    finally:
        sys.settrace(before)
    assert not missing


@pytest.mark.parametrize("name", [c for c in CLASSES if c not in ("lamp", "table")])
def test_front_and_back_differ(name):
    pairs = [render_object(name, i, seed=2, azimuths=(0, 180)) for i in range(3)]
    front, back = np.stack(pairs, axis=1).astype(float)
    changed = np.abs(front - back).max(axis=-1) > 40
    is_object = (np.minimum(front, back) < 250).any(axis=-1)
    assert changed.sum() / is_object.sum() > 0.15


def test_classes_can_be_told_apart_by_their_mean_pictures():
    def features(indices):
        items = [(name, i) for name in CLASSES for i in indices]
        views = render_objects(items, seed=5, azimuths=(30, 120), size=16)
        shape = (len(CLASSES), len(indices), -1)
        return np.stack([(v < 250).any(axis=-1) for v in views]).reshape(shape) * 1.0

    means = features(range(6)).mean(axis=1)
    held_out = features(range(6, 8))
    distance = ((held_out[:, :, None] - means) ** 2).sum(axis=-1)
    hits = distance.argmin(axis=-1) == np.arange(len(CLASSES))[:, None]
    assert hits.mean() > 0.5


def test_an_object_is_centred_and_at_most_1_long():
    for name in CLASSES:
        hull = object_scene(name, 1, seed=0).hull
        low, high = hull.min(axis=0), hull.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        assert 0.75 < (high - low).max() < 1 + 1e-9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "spoon"}, "class 'spoon': choose among airplane, bench"),
        ({"index": -1}, "index -1 of class chair must be at least 0"),
        ({"seed": -2}, "seed -2 must be at least 0"),
        ({"azimuths": ()}, "give at least one azimuth"),
        ({"size": 0}, "size 0 of a view"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_at_once(change, said):
    request = {"name": "chair", "index": 0, "seed": 0, "azimuths": (0,), "size": 8}
    request |= change
    item = (request.pop("name"), request.pop("index"))
    with pytest.raises(UserError, match=said):
        render_object(*item, **request)
    with pytest.raises(UserError, match=said):
        render_objects([("car", 0), item], **request)


def test_draws_are_a_recorded_stream_of_random_numbers():
    draw = Draws(0, 1, 2)
    expected = np.random.default_rng((0, 1, 2)).random(5)
    assert draw.uniform(2, 4) == 2 + 2 * expected[0]
    assert draw.chance(0.5) == (expected[1] < 0.5)
    assert draw.count(3, 6) == 3 + int(4 * expected[2])
    assert draw.pick("a", "b", "c") == "abc"[int(3 * expected[3])]
    assert draw.sign() == (-1 if expected[4] < 0.5 else 1)
    np.testing.assert_allclose(expected[:2], FIRST_DRAWS)


def test_a_count_takes_both_of_its_ends():
    draw = Draws(0)
    assert {draw.count(1, 3) for _ in range(50)} == {1, 2, 3}


if __name__ == "__main__":  # writes the goldens anew
    GOLDENS.parent.mkdir(exist_ok=True)
    record = {"version": procedural.VERSION} | {name: golden(name) for name in CLASSES}
    GOLDENS.write_text(json.dumps(record, indent=0) + "\n")
