"""The autoencoder's linear path: principal components, against scikit-learn's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from jaxgrow.errors import UserError
from jaxgrow.nets import autoencoder
from jaxgrow.nets.autoencoder import (
    AutoencoderConfig,
    decode,
    encode,
    start_from_principal_components,
)
from tests.support.oracles import assert_close, quick_jit


CONFIG = AutoencoderConfig(
    image_size=16, latent_dim=5, base_channels=4, linear_path=True
)


encode_quickly = quick_jit(functools.partial(encode, CONFIG))
decode_quickly = quick_jit(functools.partial(decode, CONFIG))


def correlated_images(n, seed=0):
    """Images that vary in a dozen directions, more in the first."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(7).standard_normal((12, 16 * 16 * 3))
    weights = rng.standard_normal((n, 12)) * 0.5 ** np.arange(12)
    return (0.5 + 0.02 * weights @ directions).astype(np.float32).reshape(n, 16, 16, 3)


def started(images):
    params = autoencoder.init_autoencoder(CONFIG, 0)
    return start_from_principal_components(params, images)


def test_it_starts_as_the_best_linear_reconstruction():
    images = correlated_images(60)
    params = started(images)
    z = encode_quickly(params, images)
    found = np.asarray(decode_quickly(params, z)).reshape(60, -1)
    flat = images.reshape(60, -1).astype(np.float64)
    oracle = PCA(5).fit(flat)
    assert_close(found, oracle.inverse_transform(oracle.transform(flat)), 1e-4)


@pytest.mark.slow
def test_its_latents_are_the_components_turned_and_of_variance_one_on_the_whole():
    images = correlated_images(60)
    z = np.asarray(encode_quickly(started(images), images), np.float64)
    oracle = PCA(5).fit(images.reshape(60, -1).astype(np.float64))
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(z.var(axis=0).mean(), 1.0, rtol=1e-3)
    spectrum = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    expected = oracle.explained_variance_
    np.testing.assert_allclose(
        spectrum / spectrum.sum(), expected / expected.sum(), rtol=0.01, atol=1e-5
    )
    # No latent is a single component.
    assert z.var(axis=0).max() < 0.95 * 5 * expected[0] / expected.sum()


def test_fewer_images_than_latents_are_reconstructed_whole():
    images = correlated_images(4)
    params = started(images)
    z = encode_quickly(params, images)
    assert_close(decode_quickly(params, z), images, 1e-3)


@pytest.mark.slow
def test_convolutions_add_to_it_once_they_are_trained():
    images = jnp.asarray(correlated_images(6))
    params = started(np.asarray(images))

    def loss_fn(params):
        return jnp.mean(
            (decode(CONFIG, params, encode(CONFIG, params, images)) - 0.3) ** 2
        )

    grads = jax.grad(loss_fn)(params)
    assert np.abs(grads["encoder"]["linear"]["kernel"]).max() > 0
    assert np.abs(grads["decoder"]["conv_out"]["kernel"]).max() > 0


def test_autokl_has_no_linear_path():
    with pytest.raises(UserError, match="autokl has no linear_path"):
        AutoencoderConfig(arch="autokl", linear_path=True)
