"""The training step of classifiers, one and several at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrow.multiview import classifier_step
from jaxgrow.multiview.batch import ImageData, ViewBatch
from jaxgrow.nets import classifiers
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.training.train_state import TrainState


CONFIG = ClassifierConfig(width=8)
TX = optax.adam(3e-3)
SGD = optax.sgd(0.1)  # Adam would make a whole step of a gradient's rounding
NUM_CLASSES = 3


def coloured_images(count: int = 48, size: int = 16):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (NUM_CLASSES, 1, 1, 3), np.uint8)
    labels = (np.arange(count) % NUM_CLASSES).astype(np.int32)
    noise = rng.integers(0, 32, (count, size, size, 3), np.uint8)
    return colours[labels] // 2 + noise, labels


def keys_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, (count, 2), np.uint32)


def fresh(seed: int, tx=TX) -> TrainState:
    params, stats = classifiers.init_classifier(CONFIG, NUM_CLASSES, seed)
    return TrainState.create(params, {**stats}, tx, keep_ema=False)


@pytest.mark.slow
def test_a_classifier_learns_colours():
    images, labels = coloured_images()
    step = jax.jit(classifier_step.make_classifier_step(CONFIG, TX))
    state, rows = fresh(0), np.arange(48, dtype=np.int32)
    for i in range(12):
        batch = ViewBatch(rows, keys_of(48, i))
        state, metrics = step(state, ImageData(images, labels), batch)
    assert metrics["accuracy"] == 1.0


@pytest.fixture(scope="module")
def one_step():
    """The compiled step of one classifier by SGD."""
    return jax.jit(classifier_step.make_classifier_step(CONFIG, SGD))


@pytest.mark.slow
def test_a_batch_may_bring_its_own_images_and_labels(one_step):
    images, labels = coloured_images()
    rows, keys = np.arange(5, 13, dtype=np.int32), keys_of(8)
    stored, _ = one_step(
        fresh(0, SGD), ImageData(images, labels), ViewBatch(rows, keys)
    )
    brought, _ = one_step(
        fresh(0, SGD),
        ImageData(None),
        ViewBatch(rows, keys, images[rows], labels[rows]),
    )
    for a, b in zip(jax.tree.leaves(stored), jax.tree.leaves(brought), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_several_classifiers_at_once_are_each_what_they_are_alone(one_step):
    images, labels = coloured_images()
    data = ImageData(images, labels)
    step = classifier_step.make_classifier_step(CONFIG, SGD)
    batches = [
        ViewBatch(np.arange(8, dtype=np.int32) + 8 * seed, keys_of(8, seed))
        for seed in range(2)
    ]
    alone = [
        one_step(fresh(seed, SGD), data, batch) for seed, batch in enumerate(batches)
    ]
    stack = lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves])  # noqa: E731
    states, metrics = jax.jit(classifier_step.several_models(step))(
        jax.tree.map(stack, fresh(0, SGD), fresh(1, SGD)),
        data,
        jax.tree.map(stack, *batches),
    )
    for seed, (state, _) in enumerate(alone):
        together = jax.tree.map(lambda leaf, seed=seed: leaf[seed], states)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    losses = [float(found["loss"]) for _, found in alone]
    assert float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_step_without_labels_is_refused():
    images, _ = coloured_images()
    step = classifier_step.make_classifier_step(CONFIG, TX)
    batch = ViewBatch(np.arange(4, dtype=np.int32), keys_of(4))
    with pytest.raises(ValueError, match="labels"):
        step(fresh(0), ImageData(images), batch)
