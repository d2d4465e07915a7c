"""All views of an object from some of them: encode, sample, decode."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxgrow.data import arrays
from jaxgrow.devices import settings
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.errors import UserError
from jaxgrow.multiview import sampling, saved_models
from jaxgrow.multiview.latents import LatentStats
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel
from jaxgrow.nets import autoencoder
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.pixels import to_unit
from jaxgrow.typing import Keys, Latents, Missing, Params


MAX_BATCH = 65_536
DEFAULT_SAMPLER = SamplerConfig(name="dpm++", num_steps=12, grid="log_snr")


class ViewGenerator:
    """Generates the missing views of any subset, in batches of one compiled size.

    `num_devices` devices of this machine share a batch, None = all of them. The result
    is the same up to rounding.

    Attributes:
        view_names: Names of the views.
        image_size: Their side in pixels.
    """

    def __init__(
        self,
        saved: SavedAutoencoder,
        model: SavedLatentModel,
        batch_size: int = 64,
        num_devices: int | None = None,
    ):
        if saved.config.latent_dim != model.stats.mean.shape[1]:
            raise UserError(
                f"the autoencoder makes {saved.config.latent_dim} latents and the "
                f"score network takes {model.stats.mean.shape[1]}: take both from one "
                "run."
            )
        self._autoencoder, self._model = saved, model
        self._weights = (saved.params, model.params, model.stats, model.denoiser)
        self._batch_size = int(arrays.as_whole(batch_size, "batch_size", 1, MAX_BATCH))
        if num_devices is not None:
            available = jax.local_device_count()
            arrays.as_whole(num_devices, "num_devices", 1, available)
        self._num_devices = num_devices
        self.view_names = model.view_names
        self.image_size = saved.config.image_size

    @classmethod
    def load(
        cls,
        run_dir: Path | str,
        batch_size: int = 64,
        num_devices: int | None = None,
    ) -> "ViewGenerator":
        """Load the weights in a run directory of nmr_dimvida.

        Raises:
            UserError: They are missing, damaged, of another version, or of two runs.
        """
        saved, model = saved_models.load_with_autoencoder(
            Path(run_dir) / "weights", "score"
        )
        return cls(saved, model, batch_size, num_devices)

    def gaussian_alone(self) -> "ViewGenerator":
        """Return a generator whose network gives 0, for samples of the Gaussian path.

        Raises:
            ValueError: The model has no such path.
        """
        if self._model.gaussian is None:
            raise ValueError("this model has no Gaussian path")
        zeros = jax.tree.map(np.zeros_like, self._model.params)
        model = self._model._replace(params=zeros)
        return ViewGenerator(
            self._autoencoder, model, self._batch_size, self._num_devices
        )

    @settings.fixed()
    def generate_views(
        self,
        images: Any,
        missing: Any,
        *,
        sampler: SamplerConfig = DEFAULT_SAMPLER,
        num_samples: int = 1,
        seed: int = 0,
        ids: Any = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> UInt8[np.ndarray, "n k v h w 3"]:
        """Generate all views of every object, `num_samples` times.

        Pixels of missing views are never read; conditioning views come back unchanged.

        Args:
            images: Views, uint8 (n, v, h, w, 3); anything where missing.
            missing: (n, v), True where a view is to be generated.
            sampler: Sampler and number of network evaluations.
            num_samples: Samples k of every object, 1 or more.
            seed: Of all draws, 0 to 2^32 - 1.
            ids: Number of each object, 0 to 2^32 - 1; its draws come from it
                and `seed` alone, so that they do not depend on the batch. None = 0, 1,
                2, ...
            on_progress: Called with the objects done and their number.

        Raises:
            UserError: Wrong types, numbers or sizes, or an object with all or none of
                its views missing.
        """
        images, missing = self._checked(images, missing)
        num_samples = int(arrays.as_whole(num_samples, "num_samples", 1))
        seed = int(arrays.as_whole(seed, "seed"))
        ids = arrays.as_whole(np.arange(len(images)) if ids is None else ids, "ids")
        if ids.shape != (len(images),):
            raise UserError(
                f"ids has the shape {ids.shape} for {len(images)} objects: give one "
                "for each."
            )
        generate = _make_generate(self._autoencoder.config, sampler, self._num_devices)
        self._weights = generate.share(self._weights)
        done = [np.zeros((0, num_samples, *images.shape[1:]), np.uint8)]
        for start in range(0, len(images), self._batch_size):
            rows = slice(start, start + self._batch_size)
            inputs = self._weights, images[rows], missing[rows]
            samples = []
            for k in range(num_samples):
                keys = np.asarray(jax.random.key_data(object_keys(seed, ids[rows], k)))
                samples.append(generate.in_batches(self._batch_size, *inputs, keys))
            done.append(np.stack(samples, axis=1))
            if on_progress is not None:
                on_progress(min(rows.stop, len(images)), len(images))
        return np.concatenate(done)

    def _checked(
        self, images: Any, missing: Any
    ) -> tuple[UInt8[np.ndarray, "n v h w 3"], Bool[np.ndarray, "n v"]]:
        images = arrays.as_bytes(images, "images")
        missing = arrays.as_flags(missing, "missing")
        num_views, side = len(self.view_names), self.image_size
        wanted = (num_views, side, side, 3)
        if images.shape[1:] != wanted:
            raise UserError(
                f"this model has {num_views} views of {side}x{side} pixels "
                f"({', '.join(self.view_names)}), and the images are of shape "
                f"{images.shape}: bring each object to {wanted}."
            )
        if missing.shape != images.shape[:2]:
            raise UserError(
                f"missing is of shape {missing.shape}: it must have an entry for every "
                f"view of every object, {images.shape[:2]}."
            )
        count = missing.sum(axis=1)
        for wrong, what, mend in (
            (num_views, "all", "give at least one"),
            (0, "none", "there is nothing to generate, leave it out"),
        ):
            if (count == wrong).any():
                raise UserError(
                    f"{what} of the views of object {int((count == wrong).argmax())} "
                    f"are missing: {mend}."
                )
        return images, missing


@functools.lru_cache(maxsize=64)
def _make_generate(
    config: AutoencoderConfig, sampler: SamplerConfig, num_devices: int | None
) -> RowsFn:
    """Build (weights, images, missing, key_data) -> views.

    The weights are arguments: networks of one shape share a program, and the cache of
    compiled programs does not contain them.
    """

    def generate(weights, images, missing, key_data):
        autoencoder_params, params, stats, denoiser = weights
        saved = SavedAutoencoder(config, autoencoder_params)
        z = encode_views(saved, stats, images, missing)
        keys = jax.random.wrap_key_data(key_data, impl="threefry2x32")
        z = sampling.sample_missing(
            denoiser.noise_fn(params), denoiser.sde, sampler, keys, z, missing
        )
        decoded = decode_views(saved, stats, z)
        return jnp.where(missing[..., None, None, None], decoded, images)

    return RowsFn(generate, num_devices)


def object_keys(seed: int, ids: Int[np.ndarray, " n"], sample: int = 0) -> Keys:
    """Return one key per object, from the seed, its number and the sample alone."""
    root = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), sample)
    return jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.asarray(ids, jnp.uint32))


def encode_views(
    saved: SavedAutoencoder,
    stats: LatentStats,
    images: UInt8[Array, "b v h w 3"],
    missing: Missing,
) -> Latents:
    """Return standardised latents; 0, their mean, where a view is missing."""
    b, v = missing.shape
    blank = jnp.where(missing[..., None, None, None], 0, images)
    x = to_unit(blank).reshape(b * v, *images.shape[2:])
    z = autoencoder.encode(saved.config, saved.params, x).reshape(b, v, -1)
    return jnp.where(missing[..., None], 0.0, stats.standardise(z))


def decode_views(
    saved: SavedAutoencoder, stats: LatentStats, z: Latents
) -> UInt8[Array, "b v h w 3"]:
    """Decode standardised latents to images, clipped and rounded to 8 bits."""
    b, v, _ = z.shape
    flat = stats.restore(z).reshape(b * v, -1)
    x = autoencoder.decode(saved.config, saved.params, flat)
    rounded = jnp.rint(jnp.clip(x, 0.0, 1.0) * 255.0).astype(jnp.uint8)
    return rounded.reshape(b, v, *x.shape[1:])


def encode_all(
    config: AutoencoderConfig,
    params: Params,
    images: UInt8[np.ndarray, "n v h w 3"],
    batch_size: int = 256,
) -> Float[np.ndarray, "n v d"]:
    """Return the latents, not standardised, of a set that may be mapped from disk.

    The devices of this machine share the `batch_size` views of a call.
    """

    def encode_rows(params, rows):
        x = to_unit(rows).reshape(-1, *rows.shape[2:])
        return autoencoder.encode(config, params, x).reshape(*rows.shape[:2], -1)

    num_objects = max(1, batch_size // images.shape[1])
    return RowsFn(encode_rows).in_batches(num_objects, params, images)
