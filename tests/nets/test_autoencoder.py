"""Both autoencoders: the specification's golden numbers, sizes, start and refusals."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.errors import UserError
from jaxgrow.nets.autoencoder import AutoencoderConfig, decode, encode, init_autoencoder
from jaxgrow.ops import upsample
from tests.support.golden_fill import filled
from tests.support.oracles import assert_close, assert_identical, by_path, quick_jit


TINY = AutoencoderConfig(base_channels=8, latent_dim=6)
TINY_KL = AutoencoderConfig(
    arch="autokl",
    image_size=16,
    latent_dim=4,
    base_channels=32,
    autokl_multipliers=(1, 1, 2, 2),
    autokl_blocks=1,
)
FEATURES_16_PX = (32, 16, 16)


def golden_images(side: int) -> np.ndarray:
    b, c, h, w = np.ogrid[:2, :3, :side, :side]
    images = 0.5 + 0.5 * np.sin(0.05 * (h + 1) * (c + 1) + 0.07 * w + b)
    return images.transpose(0, 2, 3, 1)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def resnet_params():
    """Three blocks each way; those that change the channels have a shortcut."""

    def block(i, *, shortcut):
        layers = ["conv0", "conv1", "shortcut"] if shortcut else ["conv0", "conv1"]
        return [f"block{i}/{layer}" for layer in layers]

    encoder = ["conv_in", *block(0, shortcut=False), *block(1, shortcut=True)]
    encoder += [*block(2, shortcut=True), "linear"]
    decoder = ["linear", *block(0, shortcut=True), *block(1, shortcut=True)]
    decoder += [*block(2, shortcut=False), "conv_out"]
    params = init_autoencoder(TINY, 0)
    linear = {"linear": FEATURES_16_PX}
    return {
        "encoder": filled(params["encoder"], encoder, linear),
        "decoder": filled(params["decoder"], decoder, linear),
    }


def autokl_params():
    """The decoder's levels are listed from full resolution upward."""

    def block(name, *, shortcut=False):
        layers = ["norm0", "conv0", "norm1", "conv1"] + ["shortcut"] * shortcut
        return [f"{name}/{layer}" for layer in layers]

    attention = [f"mid_attention/{layer}" for layer in ("norm", "q", "k", "v", "out")]
    middle = [*block("mid_block0"), *attention, *block("mid_block1")]
    encoder, decoder = ["conv_in"], ["conv_in", *middle]
    for level in range(4):
        encoder += block(f"level{level}_block0", shortcut=level == 2)
        encoder += [f"level{level}_down/conv"] if level < 3 else []
        decoder += block(f"level{level}_block0", shortcut=level == 1)
        decoder += block(f"level{level}_block1")
        decoder += [f"level{level}_up"] if level > 0 else []
    encoder += [*middle, "norm_out", "conv_out", "to_latent"]
    decoder += ["norm_out", "conv_out"]
    params = init_autoencoder(TINY_KL, 0)
    return {
        "encoder": filled(params["encoder"], encoder),
        "decoder": filled(params["decoder"], decoder),
    }


def encode_and_decode(config, params):
    with jax.enable_x64(True):
        images = golden_images(config.image_size)
        z = quick_jit(lambda p, x: encode(config, p, x))(params, images)
        out = quick_jit(lambda p, z: decode(config, p, z))(params, z)
        assert z.dtype == out.dtype == jnp.float64
        return images, np.asarray(z), np.asarray(out)


def test_resnet_gives_the_golden_numbers():
    params = resnet_params()
    assert count(params["encoder"]) == 59_902
    assert count(params["decoder"]) == 68_059
    images, z, out = encode_and_decode(TINY, params)
    golden = [
        [-0.00317809, -0.05820221, -0.06267917, -0.10221105, -0.09856002, -0.08657901],
        [0.04180776, -0.10557644, -0.02930084, -0.11004964, -0.11897212, -0.0449757],
    ]
    np.testing.assert_allclose(z, golden, rtol=0, atol=6e-9)
    np.testing.assert_allclose(out.mean(), -0.0444964776, rtol=0, atol=6e-11)
    np.testing.assert_allclose(out.std(), 0.0261868888, rtol=0, atol=6e-11)
    corner, inside = out[0, 0, 0], out[1, 31, 40]
    golden = [-0.00955766, -0.04610643, -0.07636205]
    np.testing.assert_allclose(corner, golden, rtol=0, atol=6e-9)
    golden = [-0.01127178, -0.04691622, -0.07475077]
    np.testing.assert_allclose(inside, golden, rtol=0, atol=6e-9)
    laplace = np.abs(images - out).sum() / 0.75 + images.size * np.log(1.5)
    np.testing.assert_allclose(laplace / 2, 13254.00210305, rtol=0, atol=6e-9)


@pytest.mark.slow
def test_autokl_gives_the_golden_numbers():
    params = autokl_params()
    assert count(params["encoder"]) == 391_685
    assert count(params["decoder"]) == 631_971
    _, z, out = encode_and_decode(TINY_KL, params)
    golden = [
        [0.05483906, 0.05562683, 0.06229933, 0.06728096],
        [0.08097352, 0.08007142, 0.07411528, 0.06986737],
    ]
    np.testing.assert_allclose(z, golden, rtol=0, atol=6e-9)
    np.testing.assert_allclose(out.mean(), 0.0629893267, rtol=0, atol=6e-11)
    np.testing.assert_allclose(out.std(), 0.1575224806, rtol=0, atol=6e-11)
    corner, inside = out[0, 0, 0], out[1, 9, 4]
    golden = [0.07978243, 0.05664392, 0.02467522]
    np.testing.assert_allclose(corner, golden, rtol=0, atol=6e-9)
    golden = [0.09222743, 0.04973659, -0.00114068]
    np.testing.assert_allclose(inside, golden, rtol=0, atol=6e-9)


@pytest.mark.parametrize(
    ("arch", "encoder", "decoder"),
    [("resnet", 4_864_512, 4_929_731), ("autokl", 23_004_421, 33_986_179)],
)
def test_the_autoencoders_have_the_specified_sizes(arch, encoder, decoder):
    config = AutoencoderConfig(arch=arch)
    params = init_autoencoder(config, 0)
    assert count(params["encoder"]) == encoder
    assert count(params["decoder"]) == decoder


@pytest.mark.slow
def test_outputs_and_gradients_are_those_of_a_pytorch_twin():
    twins: Any = pytest.importorskip("tests.torch_twins_views")
    torch = twins.torch
    torch.manual_seed(0)
    config = AutoencoderConfig(base_channels=8, latent_dim=6)
    encoder, decoder = twins.Encoder(6, 8).upsample(), twins.Decoder(6, 8).upsample()
    with torch.no_grad():
        for tensor in [*encoder.parameters(), *decoder.parameters()]:
            tensor.copy_(tensor.float())
    params = {
        "encoder": twins.variables(encoder)["params"],
        "decoder": twins.variables(decoder)["params"],
    }
    rng = np.random.default_rng(0)
    images = rng.random((2, 64, 64, 3)).astype(np.float32)
    cotangent = rng.normal(size=images.shape).astype(np.float32)

    @quick_jit
    def run(params, images):
        def reconstruct(params, images):
            z = encode(config, params, images)
            return decode(config, params, z), z

        out, pullback, z = jax.vjp(reconstruct, params, images, has_aux=True)
        return z, out, *pullback(jnp.asarray(cotangent))

    def nchw(array):
        return torch.tensor(array.transpose(0, 3, 1, 2)).upsample()

    z, out, param_grads, image_grads = run(params, jnp.asarray(images))
    x = nchw(images).requires_grad_()
    expected_z = encoder(x)
    expected = decoder(expected_z)
    expected.backward(nchw(cotangent))
    assert_close(z, expected_z.detach().numpy())
    assert_close(out, expected.detach().numpy().transpose(0, 2, 3, 1))
    assert_close(image_grads, x.grad.numpy().transpose(0, 2, 3, 1))
    with torch.no_grad():
        for tensor in [*encoder.parameters(), *decoder.parameters()]:
            tensor.copy_(tensor.grad)
    for part, twin in (("encoder", encoder), ("decoder", decoder)):
        expected = twins.variables(twin)["params"]
        largest = max(np.max(np.abs(g)) for g in jax.tree.leaves(expected))
        assert_close(param_grads[part], expected, scale=largest)


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, TINY_KL], ids=["resnet", "autokl"])
@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
def test_every_image_size_comes_back(config, size):
    dim = (size // 8) ** 2 if config.arch == "autokl" else config.latent_dim
    config = dataclasses.replace(config, image_size=size, latent_dim=dim)
    params = init_autoencoder(config, 0)

    def both(images):
        z = encode(config, params, images)
        return z, decode(config, params, z)

    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    z, out = jax.eval_shape(both, images)
    assert z.shape == (2, dim)
    assert out.shape == images.shape


def test_channels_double_up_to_1024_on_the_way_down_and_512_on_the_way_up():
    config = AutoencoderConfig(image_size=256, base_channels=96, latent_dim=1)
    params = init_autoencoder(config, 0)
    encoder = [params["encoder"][f"block{i}"]["conv1"] for i in range(5)]
    decoder = [params["decoder"][f"block{i}"]["conv1"] for i in range(5)]
    down, up = ([c["kernel"].shape[-1] for c in part] for part in (encoder, decoder))
    assert down == [96, 192, 384, 768, 1024]
    assert up == [512, 384, 192, 96, 96]


@pytest.mark.parametrize("config", [TINY, TINY_KL], ids=["resnet", "autokl"])
def test_fresh_weights_follow_pytorchs_law(config):
    weights = by_path(init_autoencoder(config, 0))
    for path, values in weights.items():
        if "norm" in path[-2]:
            expected = 1.0 if path[-1] == "scale" else 0.0
            np.testing.assert_array_equal(values, expected)
            continue
        fan_in = math.prod(weights[*path[:-1], "kernel"].shape[:-1])
        unit = np.sort(np.ravel(values)) * math.sqrt(fan_in)
        assert np.max(np.abs(unit)) <= 1.0 + 1e-6, path
        # The largest gap between the empirical distribution and the uniform one
        # exceeds 2.5 / sqrt(n) with a chance of 7e-6.
        rank = np.arange(1, unit.size + 1) / unit.size
        gap = np.max(np.abs(unit - (2.0 * rank - 1.0))) / 2.0
        assert gap < 2.5 / math.sqrt(unit.size), path


def test_the_seed_decides_and_no_two_parts_are_alike():
    params = init_autoencoder(TINY, 3)
    assert_identical(init_autoencoder(TINY, (3,)), params)
    kernel = by_path(params)["encoder", "block0", "conv0", "kernel"]
    other = by_path(init_autoencoder(TINY, 4))
    assert not np.array_equal(other["encoder", "block0", "conv0", "kernel"], kernel)
    assert not np.array_equal(params["decoder"]["block2"]["conv0"]["kernel"], kernel)


def test_doubling_repeats_every_pixel():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    expected = x.repeat(2, axis=1).repeat(2, axis=2)
    assert_identical(upsample(jnp.asarray(x)), jnp.asarray(expected))


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, TINY_KL], ids=["resnet", "autokl"])
def test_bfloat16_is_near_float32(config):
    params = init_autoencoder(config, 0)
    images = jnp.asarray(golden_images(config.image_size), jnp.float32)

    def both(config):
        z = encode(config, params, images)
        return z, decode(config, params, z)

    run = quick_jit(both, static_argnums=0)
    half = run(dataclasses.replace(config, compute_dtype="bfloat16"))
    assert {array.dtype for array in half} == {jnp.dtype("float32")}
    for near, exact in zip(half, run(config), strict=True):
        off = np.sqrt(np.mean((near - exact) ** 2) / np.mean(exact**2))
        assert off < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 0}, "set latent_dim to"),
        ({"arch": "autokl", "latent_dim": 32}, "set latent_dim to 64, not 32"),
        ({"arch": "autokl", "base_channels": 48}, "multiple of 32, not 48"),
        ({"arch": "autokl", "autokl_blocks": 0}, "set autokl_blocks to"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        AutoencoderConfig(**options)


def test_images_of_another_size_are_refused():
    params = init_autoencoder(TINY, 0)
    with pytest.raises(ValueError, match="64 px"):
        encode(TINY, params, jnp.zeros((1, 32, 32, 3)))
