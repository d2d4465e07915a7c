"""Splits: which folders are parts, and which subjects a hash holds out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.data.splits import draw_held_out, roles_of, split_by_folders


@pytest.mark.parametrize(
    ("folders", "roles"),
    [
        ("train val", {"train": "train", "val": "val"}),
        ("Training Testing x", {"Training": "train", "Testing": "test"}),
        ("train2017 val2017", {"train2017": "train", "val2017": "val"}),
        ("DIV2K_train_HR DIV2K_valid_HR", {"DIV2K_train_HR": "train"}),
        ("data_large_standard val_large", {"val_large": "val"}),
        ("train_256 validation", {"validation": "val"}),
        ("data dev", {"data": "train", "dev": "val"}),
        ("train_station test_track", None),
        ("train valley", None),
        ("val test", None),
        ("data train", None),
    ],
)
def test_folders_are_parts_by_their_names_and_only_together(folders, roles):
    found = roles_of(folders.split())
    assert found.items() >= roles.items() if roles else not found


def test_files_take_the_topmost_part_and_those_beside_parts_have_none():
    names = ["train/val/train/1", "./val/2", "3", "more/4", "test/a/b/5"]
    assert split_by_folders(names) == ("train", "val", None, None, "test")
    assert split_by_folders(["a/train/1", "b/val/2"]) is None
    inside = ["top/a/train/1", "top/a/test/2", "top/b/3"]
    assert split_by_folders(inside) == ("train", "test", "train")


@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60).filter(
        lambda groups: len(set(groups)) > 1
    ),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_neither_side_of_a_drawn_split_is_empty(groups, fraction, seed):
    held_out = draw_held_out(groups, fraction, seed)
    assert held_out < set(groups)
    assert held_out
    assert all(groups.count(group) <= len(groups) / 2 for group in held_out)


def test_a_drawn_split_has_about_its_share_and_additions_move_nobody():
    names = [f"p{i}.jpg" for i in range(2000)]
    held_out = draw_held_out(names, 0.1, 0)
    assert 160 < len(held_out) < 240  # 200, with a standard deviation of 13
    assert draw_held_out(names[::-1][:1500], 0.1, 0) == held_out & set(names[500:])
    assert draw_held_out(names, 0.1, 1) != held_out
    # With three files the one of the least draw: a fourth may replace it only itself.
    for seed in range(50):
        few = draw_held_out(names[:3], 0.1, seed)
        more = draw_held_out(names[:4], 0.1, seed)
        assert more <= few | {names[3]}
