"""The phase `classify`: what it trains, on what, and what it leaves."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from experiments.nmr_dimvida import classify, classify_sets, classify_train
from experiments.nmr_dimvida.classify_train import Cell
from experiments.nmr_dimvida.config import Config
from experiments.nmr_dimvida.evaluation_config import ClassifyConfig
from experiments.nmr_dimvida.presets import PRESETS
from experiments.shared import run_dir
from jaxgrow.data.views import Partition, ViewSet, open_partitions
from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import accuracy
from jaxgrow.pretrained import networks
from tests.support import dimvida
from tests.support.random_weights import write_random


TESTS = (
    "single",
    "generated",
    "generated alone",
    "unknown slot",
    "flips",
    "crops",
    "reconstruction",
    "mirror",
    "nearest neighbour",
    "mean regressor",
    "real views",
)


def make_partition(n=6, v=4, size=4, observed=None):
    rng = np.random.default_rng(0)
    views = ViewSet(
        images=rng.integers(0, 255, (n, v, size, size, 3), np.uint8),
        labels=np.arange(n) % 2,
        class_names=("car", "chair"),
        object_ids=tuple(f"car/{i}" for i in range(n)),
        observed=np.ones((n, v), bool) if observed is None else observed,
        azimuths=None,
        view_names=tuple("abcd"[:v]),
    )
    return Partition(views, np.arange(n) % v)


def config_with(**fields):
    _, demo = PRESETS["demo"]
    return dataclasses.replace(
        demo, classify=dataclasses.replace(demo.classify, **fields)
    )


def test_the_defaults_are_the_papers():
    _, paper = PRESETS["paper"]
    chosen = paper.classify
    assert chosen == ClassifyConfig()
    assert (chosen.learning_rate, chosen.batch_size) == (1e-5, 128)
    assert chosen.networks == ("resnet18", "mobilenet_v3_large")
    assert (chosen.seeds, chosen.mode, chosen.width) == (3, "softmax", 64)


def test_only_the_single_set_takes_fewer_steps_than_the_augmented_one():
    config = config_with(epochs=10, batch_size=8)
    steps = {
        name: classify_train.num_steps(
            config, Cell("resnet18", "scratch", name), 16, 64
        )
        for name in ("single", "single, same steps", "augmented", "matched")
    }
    assert steps == {
        "single": 20,
        "single, same steps": 80,
        "augmented": 80,
        "matched": 80,
    }


def test_cells_that_lack_their_weights_are_left_out(tmp_path):
    (tmp_path / "resnet18.safetensors").touch()
    config = config_with(
        networks=("resnet18", "mobilenet_v3_small"),
        train_sets=("single", "augmented"),
        objects_sweep=(5,),
    )
    config = dataclasses.replace(config, weights_dir=tmp_path)
    found = [(c.network, c.start, c.per_class) for c in classify_train.cells_of(config)]
    assert found == [
        *[("resnet18", "scratch", None)] * 2,
        *[("resnet18", "fine-tuned", None)] * 2,
        *[("mobilenet_v3_small", "scratch", None)] * 2,
        *[("resnet18", "scratch", 5)] * 2,
    ]


def test_every_training_has_a_file_of_its_own():
    config = config_with(objects_sweep=(5, 10))
    cells = classify_train.cells_of(config)
    names = [cell.name(seed) for cell in cells for seed in range(3)]
    assert len(set(names)) == len(names)
    assert not any(" " in name or "," in name for name in names)


def test_smaller_training_sets_are_parts_of_larger_ones():
    labels = np.array([0, 1, 1, 0, 1, 0])
    few, more = (classify.first_of_class(labels, count) for count in (1, 2))
    np.testing.assert_array_equal(few, [True, True, False, False, False, False])
    assert not (few & ~more).any()
    assert more.sum() == 4


def test_the_conditioning_image_of_every_object_is_that_of_its_known_view():
    part = make_partition()
    images = classify_sets.conditioning_images(part)
    for i, view in enumerate(part.conditioning):
        np.testing.assert_array_equal(images[i], part.views.images[i, view])


def test_a_real_view_that_is_not_there_is_replaced_by_the_conditioning_one():
    observed = np.ones((6, 4), bool)
    observed[2, 0] = False
    part = make_partition(observed=observed)
    real = classify_sets.real_views(part)
    np.testing.assert_array_equal(
        real[2, 0], classify_sets.conditioning_images(part)[2]
    )
    real[2, 0] = part.views.images[2, 0]
    np.testing.assert_array_equal(real, part.views.images)


@pytest.mark.parametrize(
    "fields", [{"networks": ()}, {"seeds": 0}, {"objects_sweep": (0,)}]
)
def test_a_choice_out_of_range_is_refused(fields):
    (name,) = fields
    with pytest.raises(UserError, match=name):
        ClassifyConfig(**fields)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole tiny run and what it wrote."""
    run = tmp_path_factory.mktemp("classified") / "run"
    arguments = [*dimvida.TINY, "--classify.objects-sweep", "1", "--run-dir", str(run)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "jaxgrow.multiview.evaluation.views._BATCH", 8
        )  # for a handful of images
        assert dimvida.main(arguments) == 0
    return run, arguments, json.loads((run / "classify" / "results.json").read_text())


@pytest.mark.slow
def test_every_classifier_is_tested_on_every_set(finished):
    _, _, found = finished
    cells = found["cells"]
    trains = ("single", "single, same steps", "augmented", "matched")
    assert [(c["train"], c["test"]) for c in cells if c["test"] == "single"] == [
        (train, "single") for train in trains
    ]
    assert {c["test"] for c in cells} == set(TESTS)
    assert len(cells) == len(trains) * len(TESTS)
    assert all(len(c["accuracy"]) == 2 for c in cells)
    assert len(found["verdicts"]) == len(trains)
    per_class = [p["objects_per_class"] for p in found["objects_sweep"]]
    assert sorted(per_class) == [1] * 8  # the whole set has one object a class too
    assert {p["evaluations"] for p in found["evaluations_sweep"]} == {1}
    assert found["missing"]["resnet18"].startswith("needs weights: python -m tools")


@pytest.mark.slow
def test_results_are_what_the_saved_networks_say(finished):
    run, _, found = finished
    config = run_dir.read_config(run, "nmr_dimvida", Config)
    test = open_partitions(config.data, config.seed).e
    images = classify_sets.conditioning_images(test)
    (cell,) = [
        c for c in found["cells"] if (c["train"], c["test"]) == ("augmented", "single")
    ]
    for seed in range(2):
        path = Cell("resnet18", "scratch", "augmented").weights_path(config, seed)
        saved = saved_classifiers.load_classifier(path)
        expected = accuracy(saved, images, test.views.labels)
        assert cell["accuracy"][seed] == pytest.approx(expected)


@pytest.mark.slow
def test_the_same_command_again_trains_nothing_and_another_rate_is_refused(
    finished, capsys
):
    run, arguments, _ = finished
    files = sorted((run / "weights" / "classify").iterdir())
    before = [file.read_bytes() for file in files]
    said = dimvida.run(capsys, *arguments)
    assert said.status == 0
    assert "trained and tested already" in said.out
    said = dimvida.run(capsys, *arguments, "--classify.learning-rate", "0.1")
    assert said.status == 2
    assert "trained otherwise" in said.err
    assert "Traceback" not in said.err
    assert [file.read_bytes() for file in files] == before


@pytest.mark.slow
def test_fine_tuning_starts_from_the_weights_that_are_given(finished, tmp_path, capsys):
    run, _, _ = finished
    copy, weights = tmp_path / "run", tmp_path / "resnet18.safetensors"
    shutil.copytree(run, copy)
    write_random(weights, "resnet18", num_classes=7)
    line = [*dimvida.TINY, "--run-dir", str(copy), "--phases", "classify"]
    line += ["--classify.starts", "fine-tuned", "--classify.seeds", "1"]
    line += ["--classify.train-sets", "single"]
    said = dimvida.run(capsys, *line, "--weights-dir", str(tmp_path))
    assert said.status == 0, said.err
    assert "starts from RANDOM weights" in said.out
    found = json.loads((copy / "classify" / "results.json").read_text())
    assert {cell["start"] for cell in found["cells"]} == {"fine-tuned"}
    assert found["missing"] == {}
    config = run_dir.read_config(copy, "nmr_dimvida", Config)
    cell = Cell("resnet18", "fine-tuned", "single")
    tuned = saved_classifiers.load_classifier(cell.weights_path(config, 0))
    begun = networks.load_pretrained_classifier(weights, tuned.config, 2).params
    stem, before = tuned.params["stem"]["kernel"], begun["stem"]["kernel"]
    change = np.abs(np.asarray(stem) - np.asarray(before)).max()
    assert 0 < change < 5e-3  # a few steps of Adam at 1e-3
    assert tuned.params["head"]["bias"].shape == (2,)


@pytest.mark.slow
def test_the_report_has_table_two_and_says_what_table_three_lacks(finished):
    run, _, _ = finished
    page = (run / "report.html").read_text()
    for wanted in ("Table II", "Table III", "needs weights", "83.89", "unknown slot"):
        assert wanted in page
