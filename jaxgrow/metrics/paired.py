"""P-IDS and U-IDS (Zhao et al. 2021, "CoModGAN", Sec. 3.3): errors of a linear SVM.

A linear support vector machine learns to separate real from generated images by FID's
features, and is tested on the same images. U-IDS is its error rate, 50 % at best. P-IDS
is the rate at which a generated image scores as more real than its own original.
"""

import dataclasses
import importlib.util
import warnings
from typing import Any

import numpy as np

from jaxgrow.data import arrays
from jaxgrow.errors import UserError


NEEDS = "pip install 'scikit-learn>=1.5'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminativeScores:
    """Both scores in percent, higher is better.

    Attributes:
        p_ids: Pairs in which the generated image looks more real, 0 to 100.
        u_ids: Errors of the machine over all images, 0 to 50 or little above.
        num_pairs: Pairs of images.
        notes: A sentence for each reason not to trust the scores.
    """

    p_ids: float
    u_ids: float
    num_pairs: int
    notes: tuple[str, ...]


def is_available() -> bool:
    """Return True if scikit-learn is installed."""
    return importlib.util.find_spec("sklearn") is not None


def discriminative_scores(real: Any, fake: Any) -> DiscriminativeScores:
    """Return P-IDS and U-IDS by scikit-learn's `LinearSVC(dual=False)`, as the paper.

    Row i of `fake` has the (n, d) features of the image generated from that of `real`.

    Raises:
        UserError: scikit-learn is missing, or the features are not (n, d) finite floats
            for both.
    """
    if not is_available():
        raise UserError(f"P-IDS and U-IDS need scikit-learn: {NEEDS}.")
    real = arrays.as_features(real, "features of the real images")
    fake = arrays.as_features(fake, "features of the generated images")
    if real.shape != fake.shape:
        raise UserError(
            f"P-IDS compares pairs, but features are {real.shape} for the real and "
            f"{fake.shape} for the generated images: pair them."
        )
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine = LinearSVC(dual=False)  # pyright: ignore
    inputs = np.concatenate([real, fake])
    is_real = np.repeat([1, 0], len(real))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(inputs, is_real)
    notes, (num_pairs, num_features) = (), real.shape
    if 2 * num_pairs <= num_features + 1:
        notes += (
            f"a plane tells any {num_pairs:,} images from any {num_pairs:,} others by "
            f"{num_features:,} features: P-IDS and U-IDS near 0 mean nothing here",
        )
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        notes += ("the support vector machine of P-IDS and U-IDS did not converge",)
    errors = 1.0 - float(machine.score(inputs, is_real))
    wins = machine.decision_function(fake) > machine.decision_function(real)
    return DiscriminativeScores(
        p_ids=100.0 * float(wins.mean()),
        u_ids=100.0 * errors,
        num_pairs=num_pairs,
        notes=notes,
    )
