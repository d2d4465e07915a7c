"""Parts of objects: disjoint, complete, and the same on every machine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.split import (
    Candidate,
    conditioning_views,
    divide,
    draw,
    part_of,
)
from jaxgrow.errors import UserError


CONFIG = ViewDataConfig()


def candidates_of(ids, held_out=None, label=0):
    return [Candidate(i, label, i, held_out) for i in ids]


def parts_of(candidates, config=CONFIG, seed=0, class_names=("chair",)):
    entries, _ = divide(candidates, class_names, config, seed)
    return {entry.object_id: entry.part for entry in entries}


@pytest.mark.parametrize(
    ("seed", "stream", "identity", "expected"),
    [  # the first 8 bytes of sha256sum over 2^64
        (0, "d", "02691156abc", 0.2060891998465371),
        (7, "known", "chair/1", 0.8368052145602763),
        (123, "test", "a", 0.21959136155655648),
    ],
)
def test_draws_are_those_of_every_machine_and_version(seed, stream, identity, expected):
    assert draw(seed, stream, identity) == pytest.approx(expected, abs=1e-15)


@given(
    names=st.sets(st.text(max_size=12), min_size=1, max_size=60),
    held=st.lists(st.sampled_from([True, False, None]), min_size=60, max_size=60),
    seed=st.integers(0, 2**63),
    d_fraction=st.floats(0.01, 0.99),
    test_fraction=st.floats(0.01, 0.99),
)
@settings(max_examples=40, deadline=None)
def test_every_object_is_in_one_part_whatever_its_company(
    names, held, seed, d_fraction, test_fraction
):
    config = ViewDataConfig(d_fraction=d_fraction, test_fraction=test_fraction)
    candidates = [
        Candidate(n, 0, n, h) for n, h in zip(sorted(names), held, strict=False)
    ]
    fractions = {"d_fraction": d_fraction, "test_fraction": test_fraction}
    alone = {
        c.object_id: part_of(c.identity, seed, held_out=c.held_out, **fractions)
        for c in candidates
    }
    for c in candidates:
        assert (alone[c.object_id] == "e") == bool(c.held_out) or c.held_out is None
    try:
        together = parts_of(candidates[::-1], config, seed)
    except UserError:  # a part is empty
        assert set(alone.values()) != {"d", "c", "e"}
    else:
        assert together == alone
        assert set(together.values()) == {"d", "c", "e"}


@pytest.mark.parametrize(
    "d_fraction",
    [0.2, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.5, 0.8))],
)
def test_parts_have_the_sizes_that_the_fractions_say(d_fraction):
    config = ViewDataConfig(d_fraction=d_fraction, test_fraction=0.3)
    parts = list(
        parts_of(candidates_of(f"o{i}" for i in range(20_000)), config).values()
    )
    shares = {"e": 0.3, "d": 0.7 * d_fraction, "c": 0.7 * (1 - d_fraction)}
    for part, share in shares.items():
        deviation = (share * (1 - share) / len(parts)) ** 0.5
        assert abs(parts.count(part) / len(parts) - share) < 4 * deviation


def test_another_seed_parts_otherwise():
    ids = [f"o{i}" for i in range(2000)]
    one, other = parts_of(candidates_of(ids)), parts_of(candidates_of(ids), seed=1)
    same = np.mean([one[i] == other[i] for i in ids])
    assert abs(same - (0.4**2 + 0.4**2 + 0.2**2)) < 0.05


def test_lists_of_the_data_decide_over_the_hash():
    train = candidates_of([f"a{i}" for i in range(50)], held_out=False)
    test = candidates_of([f"b{i}" for i in range(50)], held_out=True)
    parts = parts_of([*train, *test])
    assert all((part == "e") == (name[0] == "b") for name, part in parts.items())


def test_an_object_of_two_classes_is_on_one_side_only():
    train = [
        Candidate(f"{label}/{i}", label, str(i), False)
        for label in (0, 1)
        for i in range(40)
    ]
    test = [Candidate(f"0/{i}", 0, str(i), True) for i in range(10)]
    entries, notes = divide([*train, *test], ("a", "b"), CONFIG, 0)
    parts = [entry.part for entry in entries]
    assert parts[10:40] == parts[50:80]
    assert parts[:10] == parts[40:50] == [None] * 10
    assert parts[80:] == ["e"] * 10
    assert notes == (
        "20 training objects are left out because they are in the test too",
        "partition e (test) has no object of b",
    )


@given(limits=st.tuples(*[st.integers(1, 12)] * 3), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_limits_keep_that_many_of_each_class_and_move_none(limits, seed):
    candidates = [
        Candidate(f"{label}/{i}", label, f"{label}/{i}", None)
        for label in (0, 1)
        for i in range(60)
    ]
    names = ("a", "b")
    whole = parts_of(candidates, CONFIG, seed, names)
    d, c, e = limits
    few = ViewDataConfig(objects_d=d, objects_c=c, objects_e=e)
    more = ViewDataConfig(objects_d=d + 3, objects_c=c, objects_e=e)
    kept, kept_more = (parts_of(candidates, f, seed, names) for f in (few, more))
    for name, part in kept.items():
        assert part in (None, whole[name])
        assert part is None or kept_more[name] == part
    for label in ("0", "1"):
        for part, limit in zip("dce", limits, strict=True):
            of_class = [p for n, p in whole.items() if n[0] == label and p == part]
            held = [p for n, p in kept.items() if n[0] == label and p == part]
            assert len(held) == min(limit, len(of_class))


def test_objects_beyond_the_limits_are_counted():
    ids, few = [f"a{i}" for i in range(50)], ViewDataConfig(objects_c=3)
    num_left_out = list(parts_of(candidates_of(ids)).values()).count("c") - 3
    _, notes = divide(candidates_of(ids), ("a",), few, 0)
    assert notes == (
        f"{num_left_out} objects of partition c (classifiers) are left out: objects_c "
        "takes at most 3 of each class",
    )


def test_a_part_without_objects_is_refused():
    with pytest.raises(
        UserError, match=r"^partition e \(test\) would be empty, with 9"
    ):
        parts_of(candidates_of("abcdefghi", held_out=False))


def test_a_class_without_objects_in_one_part_is_noted():
    candidates = [
        *candidates_of([f"a{i}" for i in range(50)]),
        *candidates_of(["b0"], held_out=True, label=1),
    ]
    _, notes = divide(candidates, ("chair", "lamp"), CONFIG, 0)
    assert notes == (
        "partition d (generative model) has no object of lamp",
        "partition c (classifiers) has no object of lamp",
    )


def test_every_view_is_known_equally_often_and_by_the_name_alone():
    ids = [f"chair/{i}" for i in range(8000)]
    slots = conditioning_views(ids, np.ones((8000, 4), bool), seed=3)
    counts = np.bincount(slots, minlength=4)
    assert np.abs(counts - 2000).max() < 4 * (8000 * 0.25 * 0.75) ** 0.5
    some = conditioning_views(ids[100:110], np.ones((10, 4), bool), seed=3)
    np.testing.assert_array_equal(some, slots[100:110])
    other = conditioning_views(ids, np.ones((8000, 4), bool), seed=4)
    assert abs((other == slots).mean() - 0.25) < 0.03


@given(
    observed=st.lists(
        st.lists(st.booleans(), min_size=3, max_size=3).filter(any), min_size=1
    )
)
@settings(deadline=None)
def test_the_known_view_is_an_observed_one(observed):
    there = np.array(observed)
    slots = conditioning_views([str(i) for i in range(len(there))], there, seed=0)
    assert there[np.arange(len(there)), slots].all()
