"""Every loss against NumPy, optax or a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.errors import UserError
from jaxgrow.inpainting import losses
from jaxgrow.inpainting.losses import ADVERSARIAL, LossConfig, r1_penalty
from tests.support.oracles import assert_close, quick_jit


B, R = 3, 4
OF_DISCRIMINATOR = {n: quick_jit(f.discriminator) for n, f in ADVERSARIAL.items()}
OF_GENERATOR = {n: quick_jit(f.generator) for n, f in ADVERSARIAL.items()}

bce = quick_jit(lambda *args: optax.sigmoid_binary_cross_entropy(*args).mean())
perceptual_loss = quick_jit(losses.perceptual_loss, static_argnums=2)
reconstruction_loss = quick_jit(losses.reconstruction_loss, static_argnums=(3, 4))

logits = st.lists(st.floats(-40, 40, width=32), min_size=B, max_size=B).map(
    lambda values: np.array(values, np.float32)
)


def draw(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture
def pictures():
    """(output, real, mask): random, with holes of different sizes."""
    mask = draw(2, B, R, R, 1) > np.array([-0.5, 0.0, 0.5]).reshape(B, 1, 1, 1)
    return draw(0, B, R, R, 3), draw(1, B, R, R, 3), mask.astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(real=logits, fake=logits)
def test_cross_entropy_is_optaxs(real, fake):
    ones, zeros = np.ones(B, np.float32), np.zeros(B, np.float32)
    expected = np.asarray(bce(real, ones)) + bce(fake, zeros)
    found = OF_DISCRIMINATOR["bce"](real, fake)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        OF_GENERATOR["bce"](fake), bce(fake, ones), rtol=1e-5, atol=1e-12
    )


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_cross_entropy_of_huge_logits_is_finite_and_so_is_its_gradient(logit):
    x = np.full(B, logit, np.float32)
    loss = ADVERSARIAL["bce"]
    for fn in (loss.generator, lambda x: loss.discriminator(x, x)):
        value, grad = quick_jit(jax.value_and_grad(fn))(x)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_the_generators_cross_entropy_does_not_saturate_where_d_is_sure():
    logit = np.array([-30.0], np.float32)
    grad = quick_jit(jax.grad(ADVERSARIAL["bce"].generator))(logit)
    np.testing.assert_allclose(grad, -1.0, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(real=logits, fake=logits)
def test_hinge_and_least_squares_are_their_formulas(real, fake):
    r, f = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    expected = {
        "hinge": (np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(), -f.mean()),
        "least_squares": (
            0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(),
            0.5 * ((f - 1) ** 2).mean(),
        ),
    }
    for form, (of_d, of_g) in expected.items():
        found = OF_DISCRIMINATOR[form](real, fake), OF_GENERATOR[form](fake)
        np.testing.assert_allclose(found, (of_d, of_g), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ADVERSARIAL)
def test_each_player_gains_by_moving_logits_its_way(form):
    x = np.array([-0.3, 0.2, 0.5], np.float32)
    loss = ADVERSARIAL[form]
    of_real, of_fake = map(
        np.asarray, quick_jit(jax.grad(loss.discriminator, (0, 1)))(x, x)
    )
    assert (of_real <= 0).all()
    assert of_real.sum() < 0 < of_fake.sum()
    assert (np.asarray(quick_jit(jax.grad(loss.generator))(x)) < 0).all()


def test_reconstruction_with_weight_one_is_the_plain_mean_squared_error(pictures):
    output, real, mask = pictures
    expected = np.mean((np.float64(output) - np.float64(real)) ** 2)
    np.testing.assert_allclose(
        reconstruction_loss(output, real, mask), expected, rtol=1e-6
    )


@pytest.mark.parametrize("hole_weight", [0.0, 0.5, 6.0])
def test_the_hole_counts_by_its_weight_in_either_form(pictures, hole_weight):
    output, real, mask = map(np.float64, pictures)
    square = (output - real) ** 2
    weight = np.where(mask == 1, hole_weight, 1.0) * np.ones(3)
    error = [np.average(s, weights=w) for s, w in zip(square, weight, strict=True)]
    expected = {
        "mse": (weight * square).mean(),
        "rmse": np.sqrt(np.array(error) + 1e-6).mean(),
    }
    for form, value in expected.items():
        np.testing.assert_allclose(
            reconstruction_loss(*pictures, hole_weight, form), value, rtol=1e-5
        )


def test_the_root_of_the_error_has_a_gradient_of_zero_at_a_perfect_picture(pictures):
    _, real, mask = map(jnp.asarray, pictures)

    def loss(output):
        return losses.reconstruction_loss(output, real, mask, 2.0, "rmse")

    value, grad = quick_jit(jax.value_and_grad(loss))(real)
    np.testing.assert_allclose(value, 1e-3, rtol=1e-5)
    assert not np.any(grad)


# (c, h, w) of two feature layers, and the constant differences in them.
LAYERS = {(5, 4, 4): 0.3, (7, 2, 2): -1.2}


@pytest.mark.parametrize(
    ("form", "of_layer"),
    [
        ("eq1", lambda d, n: abs(d) / n**0.5),
        ("rms", lambda d, n: abs(d)),
        ("mse", lambda d, n: d**2),
    ],
)
def test_perceptual_loss_of_constant_differences_is_known(form, of_layer):
    real = [draw(0, B, h, w, c) for c, h, w in LAYERS]
    moved = [f + np.float32(d) for f, d in zip(real, LAYERS.values(), strict=True)]
    expected = sum(of_layer(d, c * h * w) for (c, h, w), d in LAYERS.items())
    np.testing.assert_allclose(perceptual_loss(moved, real, form), expected, rtol=1e-5)


def test_equation_1_of_a_random_difference_is_numpys_norm_over_chw():
    f, f_real = draw(0, B, R, R, 5), draw(1, B, R, R, 5)
    norms = np.linalg.norm(np.float64(f - f_real).reshape(B, -1), axis=1)
    expected = norms.mean() / (5 * R * R)
    np.testing.assert_allclose(perceptual_loss([f], [f_real], "eq1"), expected, 1e-5)


def test_as_printed_equation_1_fades_with_resolution_and_rms_does_not():
    def at(resolution, form):
        zeros = np.zeros((1, resolution, resolution, 2), np.float32)
        return float(perceptual_loss([zeros + np.float32(0.5)], [zeros], form))

    np.testing.assert_allclose(at(16, "eq1") / at(4, "eq1"), 1 / 4, rtol=1e-5)
    np.testing.assert_allclose(at(16, "rms") / at(4, "rms"), 1, rtol=1e-5)


@pytest.mark.parametrize("form", ["eq1", "rms", "mse"])
def test_equal_features_give_a_zero_gradient_not_nan(form):
    real = [draw(0, B, 2, 2, 5)]
    loss = quick_jit(jax.value_and_grad(losses.perceptual_loss), static_argnums=2)
    value, grads = loss(real, real, form)
    assert abs(float(value)) < 1e-11
    assert not np.any(grads[0])


def test_perceptual_loss_refuses_layers_without_a_partner():
    layer = jnp.zeros((1, 2, 2, 3))
    with pytest.raises(ValueError, match="zip"):
        losses.perceptual_loss([layer, layer], [layer], "mse")


def test_r1_of_a_linear_logit_is_half_its_squared_slope():
    slope = draw(0, R, R, 3)
    x = draw(1, B, R, R, 3)
    logits = lambda x: jnp.einsum("bhwc,hwc->b", x, slope) + 5.0  # noqa: E731
    penalty = quick_jit(lambda x: r1_penalty(logits, x))(x)
    np.testing.assert_allclose(penalty, 0.5 * np.sum(np.float64(slope) ** 2), rtol=1e-5)


def test_r1_averages_over_examples_and_reaches_the_logits_weights():
    """D(x) = a |x|^2 / 2 has gradient a x: R1 = a^2/2 mean |x|^2, dR1/da = a mean."""
    x = jnp.asarray(draw(0, B, R, R, 4))
    mean_square = np.mean(np.sum(np.float64(x) ** 2, axis=(1, 2, 3)))

    def penalty(a):
        return r1_penalty(lambda x: 0.5 * a * jnp.sum(x**2, axis=(1, 2, 3)), x)

    value, grad = quick_jit(jax.value_and_grad(penalty))(1.5)
    assert_close([value, grad], [0.5 * 1.5**2 * mean_square, 1.5 * mean_square])


def test_a_cadence_of_r1_below_1_is_refused():
    with pytest.raises(UserError, match="set r1_every to a whole number"):
        LossConfig(r1_every=0)
