"""The phase that trains the coherence classifier, which sees single views."""

import functools
from typing import Any

import numpy as np

from experiments.nmr_dimvida.config import Phase
from experiments.nmr_dimvida.objects import (
    Objects,
    image_feed,
    observed_images,
    stream_of,
)
from experiments.nmr_dimvida.run import Run, weights_path
from experiments.nmr_dimvida.tasks import make_task
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.multiview import classifier_step
from jaxgrow.nets import classifiers
from jaxgrow.pixels import to_unit
from jaxgrow.training.task import TrainingTask
from jaxgrow.training.train_state import TrainState


_VALIDATION_BATCH = 64


def coherence_classifier_training(
    run: Run, objects: Objects, first_step: int
) -> TrainingTask:
    """Return the training of a classifier on all views of partition d."""
    config, training = run.config, run.config.coherence_classifier_training
    net, class_names = config.coherence_classifier, objects.train.class_names
    phase: Phase = "coherence_classifier"
    held, path = objects.validation, weights_path(config, phase)
    images = observed_images(held)
    labels = np.repeat(held.labels, held.num_views)[held.observed.ravel()]

    def predict(variables, x):
        params, stats = variables
        logits, _ = classifiers.apply_classifier(net, params, stats, to_unit(x))
        return logits.argmax(axis=1)

    predict_rows = RowsFn(predict)

    def validate(step: int, state: TrainState) -> dict[str, float]:
        variables = state.eval_params, state.stats
        predicted = predict_rows.in_batches(_VALIDATION_BATCH, variables, images)
        return {"accuracy": 100.0 * float((predicted == labels).mean())}

    def save(state: TrainState, info: dict[str, Any]) -> None:
        saved = SavedClassifier(net, state.eval_params, state.stats, class_names)
        saved_classifiers.save_classifier(path, saved, info)

    return make_task(
        run,
        phase,
        training,
        num_examples=int(objects.train.observed.sum()),
        inputs=objects.inputs,
        first_step=first_step,
        feed=image_feed(run, objects.train, phase, training.batch_size),
        variables=lambda: classifiers.init_classifier(
            net, len(class_names), stream_of(config, phase)
        ),
        make_step=functools.partial(classifier_step.make_classifier_step, net),
        validate=validate,
        save=save,
        result=path,
    )
