"""The training step of a classifier, and of several classifiers at once."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxgrow.multiview.batch import ImageData, ViewBatch, gather_images, gather_labels
from jaxgrow.multiview.steps import Step, descend
from jaxgrow.nets import classifiers
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.training.train_state import TrainState


def make_classifier_step(
    config: ClassifierConfig,
    tx: optax.GradientTransformation,
    *,
    mirror: bool = True,
    dropout: bool = False,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> Step:
    """Build the step of a classifier on labelled `ImageData`.

    Batch statistics are those of the whole batch, over all devices. `mirror` mirrors
    half of the images, `dropout` drops what the network drops in training, and
    `ema_decay` is that of the average, if the state keeps one.
    """

    def step(state: TrainState, data: ImageData, batch: ViewBatch):
        x, labels = gather_images(data, batch), gather_labels(data, batch)
        if mirror:
            flip = jax.vmap(jax.random.bernoulli)(batch.keys())
            x = jnp.where(flip[:, None, None, None], x[:, :, ::-1], x)

        def loss_fn(params):
            logits, stats = classifiers.apply_classifier(
                config,
                params,
                state.stats,
                x,
                train=True,
                dropout_key=batch.keys()[0] if dropout else None,
                axis_name=axis_name,
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            accuracy = (logits.argmax(axis=1) == labels).mean()
            return losses.mean(), ({"accuracy": accuracy}, stats)

        return descend(loss_fn, state, tx, ema_decay, axis_name)

    return step


def several_models(step: Step) -> Step:
    """Run `step` for networks stacked in front of state and batch; average the metrics.

    The networks share the data and nothing else.
    """

    def steps(states: TrainState, data: Any, batches: ViewBatch):
        states, metrics = jax.vmap(step, in_axes=(0, None, 0))(states, data, batches)
        return states, jax.tree.map(lambda values: values.mean(axis=0), metrics)

    return steps
