"""Generated views for classification: one picture of an object in, all its views out.

Averaging a classifier's outputs over them is the test-time augmentation of Di Giacomo
et al. (2024).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgrow.data.views import pixels
from jaxgrow.errors import UserError
from jaxgrow.evaluation.classifiers import SavedClassifier, logits_of
from jaxgrow.multiview import saved_models
from jaxgrow.multiview.evaluation.classification import MODES, Mode, aggregate
from jaxgrow.multiview.generator import DEFAULT_SAMPLER, ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel


Images = np.ndarray | Sequence[np.ndarray]
Slots = int | np.integer | str | Sequence[int | str] | np.ndarray


class ViewAugmenter:
    """Generates the other views of objects that one picture shows; NumPy in and out.

        augmenter = ViewAugmenter.load("runs/dimvida_demo")
        views = augmenter(images, known_slot="front")

    Attributes:
        view_names: What the slots are called; the views come in this order.
        image_size: Side of the views in pixels.
    """

    def __init__(
        self, saved: SavedAutoencoder, model: SavedLatentModel, batch_size: int = 64
    ):
        self._view_generator = ViewGenerator(saved, model, batch_size)
        self.view_names = model.view_names
        self.image_size = saved.config.image_size

    @classmethod
    def load(cls, run_dir: Path | str, batch_size: int = 64) -> "ViewAugmenter":
        """From the weights in a run directory of nmr_dimvida.

        Raises:
            UserError: They are missing, damaged or of another version.
        """
        folder = Path(run_dir) / "weights"
        return cls(
            saved_models.load_autoencoder(folder / "autoencoder.safetensors"),
            saved_models.load_latent_model(folder / "score.safetensors", "score"),
            batch_size,
        )

    def __call__(
        self,
        images: Images,
        known_slot: Slots,
        *,
        num_samples: int | None = None,
        sampler: SamplerConfig = DEFAULT_SAMPLER,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> UInt8[np.ndarray, "n v h w 3"] | UInt8[np.ndarray, "n k v h w 3"]:
        """All views of every object; the picture itself is one of them.

        Args:
            images: uint8, one square picture per object: (n, h, w, 3), or a sequence of
                (h, w, 3) of any sizes. Those of another size than `image_size` are
                scaled to it, larger ones by exact area means, smaller ones by cubic
                interpolation; those of that size come out bit for bit.
            known_slot: Which view the pictures show, by name or number; one for all, or
                one per picture.
            num_samples: How often to draw the other views, k; None draws them once and
                leaves the axis out.
            sampler: How, and in how many network evaluations.
            seed: Of all draws. A picture's come from it and the picture's number alone.
            on_progress: Gets the objects done and their number.

        Raises:
            UserError: Wrong types or shapes, pictures that are not square, a slot that
                the model does not know, or fewer than 1 sample.
        """
        known = self._fit(images)
        slots = self._slots(known_slot, len(known))
        views = self._generate(
            known,
            slots,
            np.arange(len(known)),
            1 if num_samples is None else num_samples,
            sampler,
            seed,
            on_progress,
        )
        return views[:, 0] if num_samples is None else views

    def predict(
        self,
        classifier: SavedClassifier,
        images: Images,
        known_slot: Slots,
        *,
        mode: Mode = "softmax",
        gate: float | None = None,
        num_samples: int = 1,
        sampler: SamplerConfig = DEFAULT_SAMPLER,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Float[np.ndarray, "n k"]:
        """Class probabilities, from the outputs for all views of an object.

        Args:
            classifier: Of single views, from `view_weights.load_classifier`.
            images: As in a call.
            known_slot: As in a call.
            mode: How outputs are averaged: `evaluation.classification.aggregate`.
            gate: Views are generated only for objects whose largest probability on the
                picture itself is below this; the others keep that answer. None: for
                all.
            num_samples: Draws of the other views, all of which are averaged; each view
                counts the same, the picture too.
            sampler: As in a call.
            seed: As in a call; a gate does not change the draws.
            on_progress: Gets the objects generated, and the number to be.

        Returns:
            One row per picture, one column per `classifier.class_names`.

        Raises:
            UserError: As in a call, or an unknown mode.
        """
        if mode not in MODES:
            raise UserError(f"mode must be one of {', '.join(MODES)}, not {mode!r}.")
        known = self._fit(images)
        slots = self._slots(known_slot, len(known))
        if gate is None:
            found = np.zeros((len(known), len(classifier.class_names)), np.float32)
            unsure = np.ones(len(known), bool)
        else:
            found = aggregate(logits_of(classifier, known)[:, None])
            unsure = found.max(axis=1) < gate
        ids = np.flatnonzero(unsure)
        views = self._generate(
            known[ids], slots[ids], ids, num_samples, sampler, seed, on_progress
        )
        logits = logits_of(classifier, views.reshape(-1, *views.shape[3:]))
        per_object = views.shape[1] * views.shape[2]
        grouped = logits.reshape(len(ids), per_object, found.shape[1])
        found[ids] = aggregate(grouped, mode)
        return found

    def _generate(
        self,
        known: UInt8[np.ndarray, "n h w 3"],
        slots: Int[np.ndarray, " n"],
        ids: Int[np.ndarray, " n"],
        num_samples: int,
        sampler: SamplerConfig,
        seed: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> UInt8[np.ndarray, "n k v h w 3"]:
        if num_samples < 1:
            raise UserError(f"num_samples must be 1 or more, not {num_samples}.")
        missing = np.arange(len(self.view_names)) != slots[:, None]
        shape = (*missing.shape, *known.shape[1:])
        return self._view_generator.generate_views(
            np.broadcast_to(known[:, None], shape),
            missing,
            sampler=sampler,
            num_samples=num_samples,
            seed=seed,
            ids=ids,
            on_progress=on_progress,
        )

    def _fit(self, images: Images) -> UInt8[np.ndarray, "n s s 3"]:
        """Checked and brought to the model's size."""
        if isinstance(images, np.ndarray) and images.ndim == 3:
            raise UserError(
                f"images has shape {images.shape}: give a batch (n, h, w, 3), of a "
                "single picture images[None]."
            )
        fitted = []
        for i, image in enumerate(images):
            image = np.asarray(image)
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UserError(
                    f"picture {i} is {image.dtype} of shape {image.shape}: give uint8 "
                    '(h, w, 3) in RGB, with Pillow by image.convert("RGB").'
                )
            name = f"of picture {i}"
            fitted.append(
                pixels.resize_view(image, self.image_size, resize=True, name=name)
            )
        size = self.image_size
        return np.array(fitted, np.uint8).reshape(-1, size, size, 3)

    def _slots(self, known_slot: Slots, n: int) -> Int[np.ndarray, " n"]:
        """The number of every picture's slot."""
        is_one = isinstance(known_slot, int | np.integer | str)
        given = [known_slot] * n if is_one else list(known_slot)  # pyright: ignore
        if len(given) != n:
            raise UserError(
                f"{len(given)} known slots for {n} pictures: give one for all, or one "
                "for each."
            )
        return np.array([self._slot(slot) for slot in given], np.int64)

    def _slot(self, slot: object) -> int:
        if isinstance(slot, str) and slot in self.view_names:
            return self.view_names.index(slot)
        if isinstance(slot, int | np.integer) and not isinstance(slot, bool):
            number = int(slot)
            if 0 <= number < len(self.view_names):
                return number
        raise UserError(
            f"the model knows no view {slot!r}: its slots are "
            + ", ".join(f"{i} ({name})" for i, name in enumerate(self.view_names))
            + "."
        )
