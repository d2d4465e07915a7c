"""One image in, all views out, and a classifier's outputs averaged over them."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import special

from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import logits_of
from jaxgrow.multiview import saved_models
from jaxgrow.multiview.augmenter import ViewAugmenter
from jaxgrow.multiview.evaluation.classification import aggregate
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.pixels import to_unit
from tests.support import small_views
from tests.support.oracles import quick_jit


FAST = SamplerConfig(name="dpm++", num_steps=2, grid="log_snr")
NOISY = SamplerConfig(name="euler_maruyama", num_steps=2)
DOC = Path(__file__).parents[2] / "docs" / "augmenter.md"


@pytest.fixture(scope="module")
def augmenter():
    return ViewAugmenter(
        ViewGenerator(
            small_views.saved_autoencoder(), small_views.latent_model(), batch_size=4
        )
    )


def pictures(n=5, side=small_views.SIDE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), np.uint8)


# Views.


def test_views_are_those_of_the_generator_and_the_image_is_one_of_them(augmenter):
    images, shown = pictures(), np.array([0, 3, 1, 1, 2])
    found = augmenter(images, shown, sampler=NOISY, seed=7)
    assert found.shape == (5, 4, 16, 16, 3)
    np.testing.assert_array_equal(found[np.arange(5), shown], images)
    view_generator = ViewGenerator(
        small_views.saved_autoencoder(), small_views.latent_model(), batch_size=4
    )
    views = np.zeros((5, 4, 16, 16, 3), np.uint8)
    views[np.arange(5), shown] = images
    missing = np.arange(4) != shown[:, None]
    expected = view_generator.generate_views(views, missing, sampler=NOISY, seed=7)
    np.testing.assert_array_equal(found, expected[:, 0])


def test_a_view_can_be_named_or_numbered_for_all_images_or_each(augmenter):
    images = pictures(2)
    by_name = augmenter(images, "right", sampler=FAST)
    for same in (2, np.int64(2), ["right", 2], np.array([2, 2])):
        np.testing.assert_array_equal(augmenter(images, same, sampler=FAST), by_name)
    assert (augmenter(images, "left", sampler=FAST) != by_name).any()


def test_samples_have_an_axis_of_their_own_and_begin_with_the_one_drawn_alone(
    augmenter,
):
    images = pictures(2)
    samples = augmenter(images, 0, sampler=NOISY, num_samples=3)
    assert samples.shape == (2, 3, 4, 16, 16, 3)
    np.testing.assert_array_equal(
        samples[:, 0], augmenter(images, 0, sampler=NOISY, num_samples=None)
    )
    assert (samples[:, 0, 1:] != samples[:, 1, 1:]).any()
    np.testing.assert_array_equal(samples[:, 0, 0], samples[:, 2, 0])


def test_pictures_of_other_sizes_are_scaled_by_area_means(augmenter):
    images = pictures(2)
    twice = images.repeat(2, axis=1).repeat(2, axis=2)
    expected = augmenter(images, 0, sampler=FAST)
    np.testing.assert_array_equal(augmenter(twice, 0, sampler=FAST), expected)
    mixed = augmenter([images[0], twice[1]], 0, sampler=FAST)
    np.testing.assert_array_equal(mixed, expected)


def test_no_pictures_are_no_views_and_no_answers(augmenter):
    assert augmenter([], "front").shape == (0, 4, 16, 16, 3)
    assert augmenter.predict(small_views.coherence_classifier(), [], "front").shape == (
        0,
        3,
    )


@pytest.mark.parametrize(
    ("images", "view", "message"),
    [
        (pictures(1)[0], 0, r"shape \(16, 16, 3\): give a batch"),
        (pictures(2) / 255.0, 0, "image 0 must hold 8-bit pixels, not float64"),
        ([pictures(1)[0], pictures(1)[0, ..., :2]], 0, r"image 1 .* \(16, 16, 2\)"),
        (pictures(1)[:, :, :12], 0, "image 0 has 12x16 pixels: pad or crop"),
        (pictures(2), "top", r"no view 'top': its views are 0 \(front\), 1 \(back\)"),
        (pictures(2), 4, "no view 4"),
        (pictures(2), -1, "no view -1"),
        (pictures(2), True, "no view True"),
        (pictures(2), np.array([0.0, 1.0]), "no view"),
        (pictures(3), [0, 1], "2 conditioning views for 3 images"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(augmenter, images, view, message):
    with pytest.raises(UserError, match=message):
        augmenter(images, view)


def test_no_samples_and_no_such_mode_are_refused(augmenter):
    with pytest.raises(UserError, match="num_samples must be from 1 to"):
        augmenter(pictures(1), 0, num_samples=0)


# Answers.


@pytest.mark.parametrize("mode", ["softmax", "confidence"])
def test_answers_are_the_average_over_all_views_and_samples(augmenter, mode):
    images, classifier = pictures(3), small_views.coherence_classifier()
    options = {"sampler": NOISY, "num_samples": 2, "seed": 1}
    found = augmenter.predict(classifier, images, "back", mode=mode, **options)
    views = augmenter(images, "back", **options).reshape(-1, 16, 16, 3)
    logits = quick_jit(lambda x: saved_classifiers.classify(classifier, to_unit(x)))(
        views
    )
    logits = np.asarray(logits).reshape(3, 8, 3)
    np.testing.assert_allclose(found, aggregate(logits, mode), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_the_gate_keeps_sure_answers_and_does_not_change_the_others(augmenter):
    images, classifier = pictures(5), small_views.coherence_classifier()
    alone = special.softmax(logits_of(classifier, images), axis=1)
    everywhere = augmenter.predict(classifier, images, 0, sampler=NOISY)
    gate = float(np.median(alone.max(axis=1)))
    told = []
    found = augmenter.predict(
        classifier,
        images,
        0,
        sampler=NOISY,
        gate=gate,
        on_progress=lambda *at: told.append(at),
    )
    unsure = alone.max(axis=1) < gate
    assert unsure.sum() == 2
    assert told == [(2, 2)]
    expected = np.where(unsure[:, None], everywhere, alone)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_gate_of_zero_generates_nothing_and_one_above_all_everything(augmenter):
    images, classifier = pictures(5), small_views.coherence_classifier()
    alone = special.softmax(logits_of(classifier, images), axis=1)
    never = augmenter.predict(classifier, images, 0, gate=0.0, sampler=FAST)
    np.testing.assert_array_equal(never, alone)
    np.testing.assert_array_equal(
        augmenter.predict(classifier, images, 0, gate=1.01, sampler=FAST),
        augmenter.predict(classifier, images, 0, sampler=FAST),
    )


def test_outputs_do_not_depend_on_how_many_images_there_are():
    images, classifier = pictures(130), small_views.coherence_classifier()
    found = logits_of(classifier, images)
    assert found.shape == (130, 3)
    np.testing.assert_allclose(
        logits_of(classifier, images[128:]), found[128:], rtol=1e-5
    )


# The example of the documentation.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run and pictures of two sizes where the example looks for them."""
    weights = tmp_path / "runs" / "dimvida_demo" / "weights"
    saved_models.save_autoencoder(
        weights / "autoencoder.safetensors", small_views.saved_autoencoder(), {}
    )
    saved_models.save_latent_model(
        weights / "score.safetensors", "score", small_views.latent_model()
    )
    saved_classifiers.save_classifier(
        weights / "coherence_classifier.safetensors",
        small_views.coherence_classifier(),
        {},
    )
    (tmp_path / "my" / "pictures").mkdir(parents=True)
    for name, side in (("cup", 16), ("jar", 24)):
        path = tmp_path / "my" / "pictures" / f"{name}.png"
        Image.fromarray(pictures(1, side)[0]).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_runs_as_it_is_printed(folder, capsys):
    blocks = re.findall(r"```python\n(.*?) *```", DOC.read_text(), re.DOTALL)
    example, average = map(textwrap.dedent, blocks)
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 20
    names = {}
    exec(example, names)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["cup.png", "jar.png"]
    assert all(re.fullmatch(r"\w+\.png [abc] \d+%", line) for line in printed)
    with Image.open(folder / "cup_views.png") as strip:
        assert strip.size == (4 * 16, 16)
        np.testing.assert_array_equal(np.asarray(strip)[:, :16], pictures(1)[0])
    exec(average, names)
    np.testing.assert_allclose(names["p"].sum(axis=1), 1, rtol=1e-5)
