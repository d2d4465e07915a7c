"""Properties of every sampler with any network: cost, masks and keys."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.errors import UserError
from jaxgrow.multiview.sampling import SamplerConfig, sample_missing
from jaxgrow.multiview.sde import VPSDE
from tests.support.oracles import quick_jit


SDE = VPSDE()
B, V, D = 3, 4, 2
SAMPLERS = {
    "euler_maruyama": SamplerConfig(num_steps=6),
    "ddim": SamplerConfig(name="ddim", num_steps=6, eta=0.5),
    "heun": SamplerConfig(name="heun", num_steps=5, grid="log_snr"),
    "dpm++": SamplerConfig(name="dpm++", num_steps=6, grid="log_snr"),
    "sde_dpm++": SamplerConfig(name="sde_dpm++", num_steps=6),
    "repaint": SamplerConfig(
        name="repaint", num_steps=8, jump_length=3, num_resamples=2
    ),
    "replace": SamplerConfig(name="replace", num_steps=6),
    "guided": SamplerConfig(name="dpm++", num_steps=6, guidance=2.0),
}


def network(x, tau):
    """Mix the views of each example."""
    mixed = jnp.flip(x, 1) * 0.3 + jnp.sum(x, axis=(1, 2), keepdims=True) * 0.1
    return jnp.tanh(mixed + tau[..., None]) + 0.5 * x


@functools.cache
def sampler(name):
    config = SAMPLERS[name]
    return jax.jit(functools.partial(sample_missing, network, SDE, config))


def latents(num=B):
    return np.random.default_rng(0).normal(size=(num, V, D)).astype(np.float32)


def keys_for(num=B):
    return jax.random.split(jax.random.key(7), num)


masks = st.lists(
    st.lists(st.booleans(), min_size=V, max_size=V), min_size=B, max_size=B
).map(lambda rows: np.array(rows, bool))


@pytest.mark.parametrize("name", SAMPLERS)
@settings(deadline=None, max_examples=25)
@given(missing=masks)
def test_missing_values_are_never_read_and_conditioning_ones_never_changed(
    name, missing
):
    z, keys = latents(), keys_for()
    draws = [
        np.asarray(sampler(name)(keys, jnp.where(missing[..., None], junk, z), missing))
        for junk in (np.nan, 1e30)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0][~missing], z[~missing])
    assert np.isfinite(draws[0]).all()
    assert draws[0].dtype == np.float32
    assert (draws[0][missing] != 0.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_an_example_is_drawn_alike_in_any_batch(name):
    """All 16 masks in one batch, in reverse order, and one by one."""
    missing = np.array(list(itertools.product([False, True], repeat=V)))
    z, keys = jnp.asarray(latents(16)), keys_for(16)
    together = np.asarray(sampler(name)(keys, z, jnp.asarray(missing)))
    backwards = sampler(name)(keys[::-1], z[::-1], jnp.asarray(missing[::-1]))
    np.testing.assert_allclose(backwards[::-1], together, rtol=2e-5, atol=2e-5)
    for i in (0, 6, 15):
        alone = sampler(name)(
            keys[i : i + 1], z[i : i + 1], jnp.asarray(missing[i : i + 1])
        )
        np.testing.assert_allclose(alone[0], together[i], rtol=2e-5, atol=2e-5)


def test_two_keys_give_two_draws_and_one_key_the_same():
    z, missing = jnp.zeros((B, V, D)), jnp.ones((B, V), bool)
    keys = keys_for()[np.array([0, 1, 0])]
    x = np.asarray(sampler("euler_maruyama")(keys, z, missing))
    np.testing.assert_array_equal(x[0], x[2])
    assert (x[0] != x[1]).all()


@pytest.mark.parametrize(
    "config",
    [
        *SAMPLERS.values(),
        pytest.param(SamplerConfig(name="repaint"), marks=pytest.mark.slow),
        SamplerConfig(name="repaint", num_steps=20, jump_length=5, guidance=0.0),
        SamplerConfig(name="heun", num_steps=1),
        SamplerConfig(name="dpm++", num_steps=1, grid="log_snr"),
    ],
    ids=lambda config: f"{config.name}-{config.num_steps}-{config.guidance}",
)
def test_the_cost_that_a_config_names_is_the_number_of_calls(config):
    calls = []

    def counted(x, tau):
        jax.debug.callback(lambda: calls.append(1))
        return 0.1 * x

    run = jax.jit(functools.partial(sample_missing, counted, SDE, config))
    missing = np.array([[True, False]])
    jax.block_until_ready(run(keys_for(1), np.zeros((1, 2, 1), np.float32), missing))
    jax.effects_barrier()
    assert len(calls) == config.num_evaluations


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_network_is_traced_once_per_branch(name):
    traced = []

    def noticed(x, tau):
        traced.append(1)
        return network(x, tau)

    fn = functools.partial(sample_missing, noticed, SDE, SAMPLERS[name])
    jax.eval_shape(fn, keys_for(), jnp.zeros((B, V, D)), jnp.ones((B, V), bool))
    assert len(traced) == (2 if name == "guided" else 1)


@pytest.mark.parametrize(
    ("num_steps", "grid"),
    [
        (1, "time"),
        (7, "log_snr"),
        pytest.param(1, "log_snr", marks=pytest.mark.slow),
        pytest.param(7, "time", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++", "sde_dpm++"])
def test_no_noise_is_left_where_the_network_knows_the_answer(name, num_steps, grid):
    answer = jnp.asarray(latents())

    def exact(x, tau):
        alpha, sigma = SDE.marginal(tau)
        return (x - alpha[..., None] * answer) / sigma[..., None]

    config = SamplerConfig(name=name, num_steps=num_steps, grid=grid)
    run = quick_jit(functools.partial(sample_missing, exact, SDE, config))
    x = run(keys_for(), jnp.zeros((B, V, D)), jnp.ones((B, V), bool))
    np.testing.assert_allclose(x, answer, atol=2e-4)


@pytest.mark.parametrize(("solver", "eta"), [("dpm++", 0.0), ("sde_dpm++", 1.0)])
def test_two_steps_of_a_dpm_solver_are_of_first_order_which_is_ddim(solver, eta):
    """The first step has no memory, the last is of lower order."""
    z, missing = latents(), np.eye(B, V, dtype=bool)
    draws = []
    for name, options in ((solver, {}), ("ddim", {"eta": eta})):
        config = SamplerConfig(name=name, num_steps=2, grid="log_snr", **options)
        run = quick_jit(functools.partial(sample_missing, network, SDE, config))
        draws.append(run(keys_for(), jnp.asarray(z), jnp.asarray(missing)))
    np.testing.assert_allclose(draws[0], draws[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "set num_steps to a whole number"),
        ({"name": "repaint", "jump_length": 0}, "set jump_length to"),
        ({"name": "repaint", "num_resamples": 0}, "set num_resamples to"),
        ({"t_end": 1.0}, r"set t_end to a number, in \(0, 1\)"),
        ({"t_end": 0.0}, r"set t_end to a number, in \(0, 1\)"),
        ({"guidance": float("nan")}, "set guidance to a number"),
        ({"name": "ddim", "eta": 1.5}, r"set eta to a number, in \[0, 1\]"),
        ({"eta": 0.5}, "eta is ddim's"),
        ({"name": "repaint", "grid": "log_snr"}, "leave sampler.grid time"),
        ({"name": "replace", "t_end": 0.01}, "leave sampler.grid time"),
        ({"name": "replace", "guidance": 2.0}, "no conditional branch"),
        ({"num_resamples": 3}, "num_resamples is repaint's"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        SamplerConfig(**options)
