"""The ablation of the perceptual term: what differs, and what it adds up to."""

import dataclasses

import numpy as np
import pytest

from experiments import perceptual_ablation
from experiments.perceptual_ablation import Options, run_config, summarise, to_markdown
from jaxgrow.errors import UserError


def test_the_runs_of_a_seed_differ_in_the_term_alone():
    off, on = (run_config(Options(), 3, is_on) for is_on in (False, True))
    assert off.run_dir != on.run_dir
    assert on.losses.perceptual_from == 16
    assert off.losses.perceptual_from > max(off.growth.resolutions)
    losses = dataclasses.replace(off.losses, perceptual_from=on.losses.perceptual_from)
    assert dataclasses.replace(off, run_dir=on.run_dir, losses=losses) == on
    assert off.seed == 3


def test_differences_are_paired_by_seed():
    rng = np.random.default_rng(0)
    off, on = rng.normal(5.0, 1.0, (2, 3))
    found = summarise(*([{"hf_error": v} for v in side] for side in (off, on)))
    for name, values in (("off", off), ("on", on), ("on - off", on - off)):
        expected = values.mean(), values.std(ddof=1)
        np.testing.assert_allclose(found["hf_error"][name], expected)


def test_the_table_has_a_line_per_size_and_metric():
    sides = {"off": (7.25, 0.5), "on": (5.0, 0.25), "on - off": (-2.25, 0.125)}
    text = to_markdown({16: {"hf_error": sides}, 32: {"hf_error": sides}})
    line = "HF error, dB | 7.25 ± 0.50 | 5.00 ± 0.25 | -2.25 ± 0.12 |"
    assert text.splitlines()[2:] == [f"| 16 | {line}", f"| 32 | {line}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--seeds", "4", "4"], "two seeds or more"),
        (["--steps", "0", "1", "2", "3"], "set steps to 4 values"),
    ],
)
def test_a_mistake_is_refused(line, message):
    fields = {line[0][2:]: tuple(map(int, line[1:]))}
    with pytest.raises(UserError, match=message):
        Options(**fields)


def test_without_weights_nothing_is_trained(tmp_path, capsys):
    line = ["--run-dir", str(tmp_path / "runs"), "--vgg-weights", "absent"]
    assert perceptual_ablation.main(line) == 2
    assert capsys.readouterr().err.startswith("error: no weights at absent")
    assert not (tmp_path / "runs").exists()
