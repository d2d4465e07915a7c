"""One GAN step against the same step made by hand, term by term."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrow.inpainting import gan_step, losses
from jaxgrow.inpainting.batch import gather
from jaxgrow.inpainting.gan_step import make_gan_step, make_multi_step
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.nets import growing
from jaxgrow.nets.growing import generator_input
from tests.support import small_gan
from tests.support.oracles import assert_close, assert_identical, norm_of


G_RATE, D_RATE = 0.1, 5.0  # D's is large: its step must show in G's gradient
LOSSES = LossConfig(
    adversarial_weight=0.3,
    hole_weight=3.0,
    perceptual="rms",
    r1_gamma=2.0,
    r1_every=4,
    d_sees_mask=True,
)
PERCEPTUAL_WEIGHT = 0.02


def features_fn(x):
    """Two random layers of features in place of VGG19's, as the perceptual term's."""
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal(s) for s in ((3, 5), (20, 7)))
    near = jnp.tanh(x @ first.astype(np.float32))
    b, h, w, c = near.shape
    patches = near.reshape(b, h // 2, 2, w // 2, 2, c).swapaxes(2, 3)
    far = patches.reshape(b, h // 2, w // 2, 4 * c) @ second.astype(np.float32)
    return [near, jnp.tanh(far)]


@pytest.fixture(scope="module")
def data():
    return small_gan.make_data(4)


@pytest.fixture(scope="module")
def gan():
    """With spectral norm, at a state whose singular vectors are not exact."""
    gan = small_gan.enter(
        small_gan.growth_config(),
        net=small_gan.net_config(norm="spectral"),
        sgd_rates=(G_RATE, D_RATE),
        d_sees_mask=True,
        keep_ema=True,
    )
    rng = np.random.default_rng(1)

    def unit(v):
        v = np.asarray(v) + 0.3 * rng.standard_normal(v.shape) / np.sqrt(v.size)
        return jnp.asarray(v / np.linalg.norm(v), jnp.float32)

    def blur(state):
        return state.replace(stats=jax.tree.map(unit, state.stats))

    state = gan.state.replace(
        generator=blur(gan.state.generator),
        discriminator=blur(gan.state.discriminator),
        perceptual_weight=jnp.float32(PERCEPTUAL_WEIGHT),
    )
    return gan._replace(state=state)


@pytest.fixture(scope="module")
def step(gan):
    """The compiled step with every term and R1."""
    step = make_gan_step(gan.nets, LOSSES, ema_decay=0.9, features_fn=features_fn)
    return jax.jit(lambda *args: step(*args, with_r1=True))


@pytest.fixture(scope="module")
def after(gan, step, data):
    """(state, metrics) after the step on batch 0."""
    return step(gan.state, data, small_gan.make_batch(0))


@pytest.fixture(scope="module")
def by_hand(gan, data):
    """The same step in two stages, each a plain gradient of one summed loss."""
    bce = optax.sigmoid_binary_cross_entropy
    g, d = gan.state.generator, gan.state.discriminator

    def paint(params, real, mask):
        x = generator_input(real, mask)
        return growing.apply(gan.nets.generator.net, params, g.stats, x, train=True)

    def d_logits(params, stats, x, train=False):
        return growing.apply(gan.nets.discriminator.net, params, stats, x, train=train)

    def d_loss(params, real, fake, mask):
        real, fake = (jnp.concatenate([x, mask], -1) for x in (real, fake))
        logits, stats = d_logits(params, d.stats, jnp.concatenate([real, fake]), True)
        penalty = losses.r1_penalty(lambda x: d_logits(params, d.stats, x)[0], real)
        is_real = jnp.repeat(jnp.array([1.0, 0.0]), 4)
        loss = 2 * bce(logits, is_real).mean()
        return loss + LOSSES.r1_gamma * LOSSES.r1_every * penalty, (stats, penalty)

    def terms(output, d_params, d_stats, real, mask):
        fake = jnp.where(mask == 1, output, real)
        on_fake, _ = d_logits(d_params, d_stats, jnp.concatenate([fake, mask], -1))
        square = (1 + (LOSSES.hole_weight - 1) * mask) * (output - real) ** 2
        layers = zip(features_fn(output), features_fn(real), strict=True)
        rms = sum(jnp.mean((a - b) ** 2, (1, 2, 3)) ** 0.5 for a, b in layers)
        return {
            "reconstruction": square.mean(),
            "adversarial": LOSSES.adversarial_weight * bce(on_fake, jnp.ones(4)).mean(),
            "perceptual": PERCEPTUAL_WEIGHT * rms.mean(),
        }

    @jax.jit
    def run(batch):
        real, mask = gather(data, batch)
        output, g_stats = paint(g.params, real, mask)
        fake = jnp.where(mask == 1, output, real)
        d_grads, (d_stats, penalty) = jax.grad(d_loss, has_aux=True)(
            d.params, real, fake, mask
        )
        d_params = jax.tree.map(lambda p, grad: p - D_RATE * grad, d.params, d_grads)
        new_d = (d_params, d_stats, real, mask)

        def g_loss(params):
            return sum(terms(paint(params, real, mask)[0], *new_d).values())

        values = terms(output, *new_d)
        at_output = {
            name: jax.grad(lambda x, name=name: terms(x, *new_d)[name])(output)
            for name in values
        }
        return {
            "values": values,
            "output_rms": jnp.sqrt(jnp.mean(output**2)),
            "norms": {name: jnp.linalg.norm(grad) for name, grad in at_output.items()},
            "g_grads": jax.grad(g_loss)(g.params),
            "g_stats": g_stats,
            "d_grads": d_grads,
            "d_params": d_params,
            "d_stats": d_stats,
            "penalty": penalty,
        }

    return run(small_gan.make_batch(0))


def test_d_takes_the_gradient_of_its_summed_loss(after, by_hand):
    state, metrics = after
    assert_close(state.discriminator.opt_state.grads, by_hand["d_grads"], 2e-5)
    assert_close(state.discriminator.params, by_hand["d_params"])
    assert_close(state.discriminator.stats, by_hand["d_stats"])
    norm = norm_of(by_hand["d_grads"])
    np.testing.assert_allclose(metrics["d/grad_norm"], norm, rtol=1e-5)


def test_g_takes_the_gradient_of_its_summed_loss_against_the_new_d(after, by_hand):
    state, metrics = after
    grads = state.generator.opt_state.grads
    norm = norm_of(by_hand["g_grads"])
    assert_close(grads, by_hand["g_grads"], 1e-5, scale=norm)
    np.testing.assert_allclose(metrics["g/grad_norm"], norm, rtol=1e-5)
    entries = np.concatenate([np.ravel(x) for x in jax.tree.leaves(grads)])
    share = np.mean(np.abs(entries) < 1e-8)
    np.testing.assert_allclose(metrics["g/grads_below_eps"], share, atol=1e-7)
    np.testing.assert_allclose(
        metrics["g/output_rms"], by_hand["output_rms"], rtol=1e-5
    )
    assert_close(state.generator.stats, by_hand["g_stats"])


def test_g_and_its_average_move_by_the_optimisers_step(gan, after):
    before, state = gan.state.generator, after[0].generator
    expected = jax.tree.map(
        lambda p, grad: np.float64(p) - G_RATE * np.float64(grad),
        before.params,
        state.opt_state.grads,
    )
    assert_close(state.params, expected, 1e-6)
    # The first step of a stage averages with (1 + 0) / (10 + 0).
    average = jax.tree.map(
        lambda a, b: 0.1 * np.float64(a) + 0.9 * b, before.params, expected
    )
    assert_close(state.ema_params, average, 1e-6)
    assert after[0].step == state.step == after[0].discriminator.step == 1


def test_the_log_has_every_term_and_its_gradient_norm_at_gs_output(after, by_hand):
    _, metrics = after
    weights = {"reconstruction": 1.0, "adversarial": LOSSES.adversarial_weight}
    weights["perceptual"] = PERCEPTUAL_WEIGHT
    for name, weight in weights.items():
        value, norm = by_hand["values"][name] / weight, by_hand["norms"][name]
        np.testing.assert_allclose(metrics[f"g/{name}"], value, rtol=1e-5)
        np.testing.assert_allclose(
            metrics[f"grad_at_output/{name}"], norm, rtol=2e-5, err_msg=name
        )
    penalty = LOSSES.r1_every * by_hand["penalty"]
    np.testing.assert_allclose(metrics["d/r1"], penalty, rtol=1e-5)
    assert 0.0 <= metrics["d/accuracy"] <= 1.0


@pytest.mark.parametrize(("g_rate", "d_rate"), [(0.0, D_RATE), (G_RATE, 0.0)])
def test_each_players_step_leaves_the_others_weights_untouched(
    gan, step, after, data, g_rate, d_rate
):
    def at_rate(state, rate):
        return state.replace(opt_state=state.opt_state._replace(rate=jnp.float32(rate)))

    before = gan.state
    before = before.replace(
        generator=at_rate(before.generator, g_rate),
        discriminator=at_rate(before.discriminator, d_rate),
    )
    found, _ = step(before, data, small_gan.make_batch(0))
    for player, rate in (("generator", g_rate), ("discriminator", d_rate)):
        old, new = getattr(before, player).params, getattr(found, player).params
        assert small_gan.changed(old, new) == (set(old) if rate else set())
    # G's gradient comes from the D that has moved: it differs where D stood still.
    grads = (s.generator.opt_state.grads for s in (found, after[0]))
    difference = norm_of(jax.tree.map(np.subtract, *map(jax.device_get, grads)))
    norm = norm_of(after[0].generator.opt_state.grads)
    assert (difference > 0.01 * norm) == (d_rate == 0.0)


def test_the_automatic_weight_halves_reconstructions_gradient_norm(gan, step, data):
    exact = small_gan.enter(
        small_gan.growth_config(),
        net=small_gan.net_config(norm="spectral"),
        sgd_rates=(G_RATE, D_RATE),
        d_sees_mask=True,
        keep_ema=True,
    )
    batch = small_gan.make_batch(0)
    weight = jax.jit(
        lambda state, data, batch: gan_step.automatic_perceptual_weight(
            gan.nets, LOSSES, features_fn, state, data, batch
        )
    )(exact.state, data, batch)
    assert weight > 0
    _, metrics = step(exact.state.replace(perceptual_weight=weight), data, batch)
    np.testing.assert_allclose(
        metrics["grad_at_output/perceptual"],
        0.5 * metrics["grad_at_output/reconstruction"],
        rtol=1e-5,
    )


@pytest.fixture(scope="module")
def plain():
    """Without weight norm, perceptual term or R1, under SGD."""
    return small_gan.enter(small_gan.growth_config(), sgd_rates=(G_RATE, D_RATE))


@pytest.fixture(scope="module")
def without_d(plain, data):
    """(state, metrics) after a step on the reconstruction alone."""
    step = make_gan_step(plain.nets, LossConfig(adversarial_weight=0.0), ema_decay=0.0)
    return jax.jit(step)(plain.state, data, small_gan.make_batch(0))


def test_without_an_adversarial_term_d_is_bit_identical_and_g_learns(plain, without_d):
    before, (after, metrics) = plain.state, without_d
    d = after.discriminator
    assert_identical(d.replace(step=before.discriminator.step), before.discriminator)
    assert d.step == 1
    old, new = before.generator.params, after.generator.params
    assert small_gan.changed(old, new) == set(old)
    assert set(metrics) == {
        "g/reconstruction",
        "grad_at_output/reconstruction",
        "g/grad_norm",
        "g/grads_below_eps",
        "g/output_rms",
    }


def test_a_step_in_bfloat16_is_close_to_one_in_float32(without_d, data):
    half = small_gan.enter(
        small_gan.growth_config(),
        net=small_gan.net_config(norm="none", compute_dtype="bfloat16"),
        sgd_rates=(G_RATE, D_RATE),
    )
    step = make_gan_step(half.nets, LossConfig(adversarial_weight=0.0), ema_decay=0.0)
    state, metrics = jax.jit(step)(half.state, data, small_gan.make_batch(0))
    exact, exact_metrics = without_d
    for leaf in jax.tree.leaves(state.generator.params):
        assert leaf.dtype == jnp.float32
    grads, exact_grads = (s.generator.opt_state.grads for s in (state, exact))
    norm = norm_of(exact_grads)
    error = norm_of(
        jax.tree.map(np.subtract, *map(jax.device_get, (grads, exact_grads)))
    )
    assert 0 < error < 0.03 * norm
    np.testing.assert_allclose(
        metrics["g/reconstruction"], exact_metrics["g/reconstruction"], rtol=5e-3
    )


@pytest.mark.parametrize("norm", ["spectral", "weight", "batch"])
def test_what_a_bfloat16_step_keeps_and_reports_is_float32(norm, data):
    """Weights, gradients as Adam takes them, its moments, averages, vectors, losses."""
    gan = small_gan.enter(
        small_gan.growth_config(),
        net=small_gan.net_config(norm=norm, compute_dtype="bfloat16"),
        keep_ema=True,
    )
    step = make_gan_step(
        gan.nets, LossConfig(r1_gamma=1.0), ema_decay=0.9, features_fn=lambda x: [x]
    )
    step = functools.partial(step, with_r1=True)
    found = jax.eval_shape(step, gan.state, data, small_gan.make_batch(0))
    types = {leaf.dtype for leaf in jax.tree.leaves(found)}
    assert types == {jnp.dtype("float32"), jnp.dtype("int32")}


@pytest.mark.slow
def test_many_steps_in_one_call_equal_as_many_calls_r1_in_its_turn(data):
    plain = small_gan.enter(
        small_gan.growth_config(),
        net=small_gan.net_config(norm="none"),
        sgd_rates=(G_RATE, 0.01),  # D_RATE diverges under R1
    )
    config = LossConfig(adversarial="hinge", r1_gamma=1.0, r1_every=2)
    step = make_gan_step(plain.nets, config, ema_decay=0.0)
    single = {r1: jax.jit(functools.partial(step, with_r1=r1)) for r1 in (False, True)}
    batches = [small_gan.make_batch(i) for i in range(4)]
    state, series = plain.state, []
    for i, batch in enumerate(batches):
        state, metrics = single[i % 2 == 0](state, data, batch)
        series.append(metrics)
    assert [bool(m["d/r1"] > 0) for m in series] == [True, False, True, False]

    stacked = jax.jit(make_multi_step(step, config))
    found, found_series = stacked(plain.state, data, small_gan.stack(batches))
    assert found.step == 4
    for player in ("generator", "discriminator"):
        params = getattr(found, player).params
        assert_close(params, getattr(state, player).params, 1e-6)
    expected = {n: np.stack([m[n] for m in series]) for n in series[0]}
    assert_close(found_series, expected)
