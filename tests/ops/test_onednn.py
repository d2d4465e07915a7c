"""Convolutions by oneDNN against XLA's, and when they are left to XLA."""

import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxgrow.devices import backend, parallel, runtime
from jaxgrow.nets.modules import Conv
from jaxgrow.ops import conv2d, onednn
from jaxgrow.ops.windows import ConvWindow
from tests.support.oracles import quick_jit


TARGET = "__onednn$convolution"
NHWC = ("NHWC", "HWIO", "NHWC")

needs_onednn = pytest.mark.usefixtures("onednn")

# Prints the convolution's program.
PROGRAM = """
import sys
import jax
from jaxgrow.devices import runtime
if len(sys.argv) > 1:
    runtime.configure(onednn=sys.argv[1] == "True")
    runtime.keep_compiled()
from jaxgrow import ops
x, kernel = jax.numpy.ones((2, 8, 8, 4)), jax.numpy.ones((3, 3, 4, 4))
convolve = jax.jit(lambda *a: ops.conv2d(*a))
print(convolve.lower(x, kernel).as_text())
convolve(x, kernel)
"""

# Picture, kernel, strides, padding: what the networks have, and what they do not.
CASES = {
    "same": ((3, 7, 9, 5), (3, 3, 5, 6), (1, 1), "SAME"),
    "valid, strided": ((2, 9, 8, 3), (3, 3, 3, 5), (2, 2), "VALID"),
    "to fewer channels": ((3, 6, 5, 7), (5, 5, 7, 2), (1, 1), ((2, 2), (2, 2))),
    "to a picture": ((2, 4, 8, 9), (3, 3, 9, 3), (1, 1), ((1, 1), (1, 1))),
    "to one channel": ((2, 4, 4, 2), (3, 3, 2, 1), (1, 1), "SAME"),
    "1x1": ((3, 5, 4, 6), (1, 1, 6, 4), (1, 1), ((0, 0), (0, 0))),
    "1x1, strided": ((2, 8, 7, 4), (1, 1, 4, 5), (2, 2), ((0, 0), (0, 0))),
    "down": ((2, 8, 8, 4), (3, 3, 4, 4), (2, 2), ((1, 1), (1, 1))),
    "one side padded": ((2, 8, 6, 4), (3, 3, 4, 5), (2, 2), ((0, 1), (0, 1))),
    "two taps": ((2, 4, 4, 3), (2, 2, 3, 8), (1, 1), ((0, 1), (0, 1))),
    "mostly padding": ((2, 2, 1, 4), (5, 5, 4, 4), (1, 1), ((2, 2), (2, 2))),
    "strides apart": ((2, 9, 8, 3), (5, 3, 3, 4), (3, 2), ((4, 0), (2, 1))),
    "pixels no window sees": ((2, 11, 9, 4), (3, 2, 4, 3), (4, 3), ((0, 0), (0, 0))),
    "inception's": ((2, 6, 6, 3), (1, 7, 3, 4), (1, 1), "SAME"),
}


def draw(shape, seed, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def by_xla(x, kernel, strides, padding):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


def by_onednn(x, kernel, strides, padding):
    if isinstance(padding, str):
        sides = x.shape[1:3], kernel.shape[:2]
        padding = lax.padtype_to_pads(*sides, strides, padding)
    window = ConvWindow(strides, tuple(map(tuple, padding)))
    assert onednn.can_convolve(x, kernel, window)
    return onednn.convolve_by_onednn(x, kernel, window)


def text_of(function, *arrays):
    """StableHLO of a function that has not been traced before."""
    return jax.jit(lambda *a: function(*a)).lower(*arrays).as_text()


def assert_near(found, exact):
    for ours, expected in zip(found, exact, strict=True):
        assert ours.dtype == np.float32
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * scale)


def with_gradients(convolve, strides, padding):
    """Value and gradients, and the gradients of the gradients' squares."""

    def gradients(x, kernel, g):
        y, pull_back = jax.vjp(lambda *a: convolve(*a, strides, padding), x, kernel)
        return y, *pull_back(g)

    def penalty(x, kernel, g):
        _, d_x, d_kernel = gradients(x, kernel, g)
        return jnp.sum(d_x**2) + jnp.sum(d_kernel**2)

    def both(*arrays):
        return *gradients(*arrays), *jax.grad(penalty, argnums=(0, 1, 2))(*arrays)

    return lambda *arrays: [np.asarray(a) for a in quick_jit(both)(*arrays)]


@needs_onednn
@pytest.mark.parametrize("case", CASES)
def test_convolutions_and_gradients_twice_are_xlas(case, monkeypatch):
    if CASES[case][0][0] == 3:  # images: more than are taken at once
        monkeypatch.setattr(onednn, "_CACHED_BYTES", 0)
        monkeypatch.setattr(onednn, "_IMAGES_AT_ONCE", 2)
    shape, kernel_shape, strides, padding = CASES[case]
    x, kernel = draw(shape, 0), draw(kernel_shape, 1)
    with jax.enable_x64(True):
        outputs = jax.eval_shape(lambda *a: by_xla(*a, strides, padding), x, kernel)
        g = draw(outputs.shape, 2)
        exact = with_gradients(by_xla, strides, padding)(x, kernel, g)
    narrow = [jnp.asarray(a, jnp.float32) for a in (x, kernel, g)]
    assert_near(with_gradients(by_onednn, strides, padding)(*narrow), exact)


# Not one of the cases above, for no call of oneDNN is in its forward pass any more.
@needs_onednn
def test_one_channel_convolved_to_few_reads_nothing_outside_of_the_picture():
    # As four columns at once the picture is one column of them, which oneDNN got wrong.
    shape, kernel_shape = (2, 4, 4, 1), (3, 3, 1, 2)
    x, kernel = (draw(s, 0, np.float32) for s in (shape, kernel_shape))
    ours = with_gradients(by_onednn, (1, 1), "SAME")
    xlas = with_gradients(by_xla, (1, 1), "SAME")
    assert_near(ours(x, kernel, x[..., [0, 0]]), xlas(x, kernel, x[..., [0, 0]]))


@st.composite
def calls(pick):
    """Shapes, axes, strides, paddings and dilations of one call; often the least."""
    b, i, o = pick(st.tuples(*[st.sampled_from([1, 1, 2, 3, 4, 8, 27, 40])] * 3))
    groups = pick(st.sampled_from([1, 1, i]))
    strides = pick(st.tuples(*[st.integers(1, 4)] * 2))
    is_dilated = strides == (1, 1) and pick(st.booleans())
    dilations = pick(st.tuples(*[st.integers(1, 3)] * 2)) if is_dilated else (1, 1)
    sides, kernel_sides, pads, outputs = [], [], [], []
    for stride, dilation in zip(strides, dilations, strict=True):
        k = pick(st.integers(1, 6))
        pad = pick(st.tuples(*[st.integers(0, k - 1)] * 2))
        reach = (k - 1) * dilation + 1
        side = max(1, reach - sum(pad)) + pick(st.sampled_from([0, 1, 2, 5, 12]))
        sides.append(side)
        kernel_sides.append(k)
        pads.append(pad)
        outputs.append((side + sum(pad) - reach) // stride + 1)
    o = i if groups > 1 else o
    axes = "HWIO" if groups > 1 else pick(st.sampled_from(["HWIO", "HWOI", "IHWO"]))
    lengths = dict(zip("HWIO", (*kernel_sides, i // groups, o), strict=True))
    kernel_shape = tuple(lengths[axis] for axis in axes)
    options = dict(axes=axes, strides=strides, pads=tuple(pads), dilations=dilations)
    return (b, *sides, i), kernel_shape, (b, *outputs, o), options | {"groups": groups}


@pytest.mark.slow
@needs_onednn
@settings(max_examples=500, deadline=None)
@given(call=calls())
def test_any_call_gives_what_xla_gives(call):
    """Also where XLA makes it: the guard may be wider than the fault, not narrower."""
    shape, kernel_shape, output, options = call
    x, kernel = draw(shape, 0, np.float32), draw(kernel_shape, 1, np.float32)
    ours = jax.jit(lambda *a: onednn.call(*a, output, **options))(x, kernel)
    expected = jax.jit(lambda *a: onednn.by_xla(*a, **options))(x, kernel)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_flax_and_vmap_get_the_same_by_it():
    x = jnp.asarray(draw((2, 3, 6, 6, 4), 0, np.float32))
    ours = Conv(5)
    plain = nn.Conv(5, (3, 3))
    params = plain.init(jax.random.key(0), x[0])
    apply = jax.vmap(ours.apply, in_axes=(None, 0))
    assert TARGET in text_of(apply, params, x)
    expected = jnp.stack([plain.apply(params, one) for one in x])
    np.testing.assert_allclose(apply(params, x), expected, atol=1e-5)


X, KERNEL = (
    jnp.asarray(draw(shape, seed, np.float32))
    for seed, shape in enumerate([(2, 6, 6, 4), (3, 3, 4, 4)])
)


@needs_onednn
@pytest.mark.parametrize(
    ("x", "kernel", "padding"),
    [
        (X, KERNEL, ((3, 3), (3, 3))),
        (X.astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16), "SAME"),
        (X[:0], KERNEL, "SAME"),
        (X[:, :2], KERNEL, "VALID"),
    ],
)
def test_what_it_cannot_do_is_left_to_xla(x, kernel, padding):
    ours = lambda *a: conv2d(*a, padding=padding)  # noqa: E731
    assert TARGET not in text_of(ours, x, kernel)
    expected = by_xla(x, kernel, (1, 1), padding)
    np.testing.assert_array_equal(ours(x, kernel), expected)


def is_left_to_xla():
    ours = lambda *a: conv2d(*a)  # noqa: E731
    return TARGET not in text_of(ours, X, KERNEL)


@needs_onednn
def test_it_is_left_to_xla_where_the_devices_say_so(monkeypatch):
    assert not is_left_to_xla()
    with backend.splitting():
        assert is_left_to_xla()
    assert not is_left_to_xla()
    monkeypatch.setattr(backend, "on_cpu", lambda: False)
    assert is_left_to_xla()


def test_a_program_is_exported_for_every_platform_unless_an_entry_point_chose_it():
    fn = jax.jit(lambda *a: conv2d(*a))
    exported = jax.export.export(fn, platforms=["cpu", "cuda", "tpu"])(X, KERNEL)
    assert TARGET not in exported.mlir_module()


@pytest.mark.parametrize(
    ("arguments", "is_used"), [((), False), (("False",), False), (("True",), True)]
)
@needs_onednn
def test_an_entry_point_chooses_it_and_its_programs_are_not_stored(
    arguments, is_used, tmp_path
):
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX")}
    env |= {
        "XDG_CACHE_HOME": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_RAISE_PERSISTENT_CACHE_ERRORS": "1",
    }
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert (TARGET in done.stdout) == is_used
    kept = [path for path in tmp_path.rglob("*") if "lambda" in path.name]
    assert bool(kept) == (bool(arguments) and not is_used)


@needs_onednn
@pytest.mark.parametrize("switch", ["false", "true"])
def test_the_environment_overrides_the_entry_points_choice(switch, monkeypatch):
    monkeypatch.setenv(runtime.ONEDNN_SWITCH, switch)
    runtime.configure(onednn=switch == "false")
    assert is_left_to_xla() == (switch == "false")


@needs_onednn
@pytest.mark.parametrize("num_devices", [1, 2])
def test_xla_gets_the_convolutions_that_it_has_to_split_over_devices(num_devices):
    fn = parallel.RowsFn(lambda kernel, x: conv2d(x, kernel), num_devices)
    assert (TARGET in fn._fn.lower(KERNEL, X).as_text()) == (num_devices == 1)


@needs_onednn
@pytest.mark.parametrize(("kind", "by_onednn"), [("pmap", True), ("mesh", False)])
def test_a_step_on_two_devices_has_its_calls_where_each_has_a_program(kind, by_onednn):
    def step(kernel, data, x):
        del data
        y = conv2d(x, kernel)
        return kernel, parallel.pmean(y.mean(), placement.axis_name)

    placement = parallel.Placement(2, kind)
    compiled = placement.compile_step(step)
    arrays = placement.replicate(KERNEL), None, placement.shard_batch(X)
    assert (TARGET in compiled.lower(*arrays).as_text()) == by_onednn
