"""Classifiers: torchvision's sizes, a PyTorch twin of ResNet18, start and options."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.errors import UserError
from jaxgrow.nets.classifiers import ClassifierConfig, apply_classifier, init_classifier
from tests.support.oracles import assert_close, assert_identical, by_path, quick_jit


SMALL = ClassifierConfig(width=8)
LARGE_MOBILE = ClassifierConfig(arch="mobilenet_v3_large")
SMALL_MOBILE = ClassifierConfig(arch="mobilenet_v3_small")


@functools.cache
def forward(config: ClassifierConfig, *, train: bool = False):
    return quick_jit(functools.partial(apply_classifier, config, train=train))


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def images(batch: int = 4, side: int = 32, seed: int = 0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.random((batch, side, side, 3)), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "number", "statistics"),
    [
        (ClassifierConfig(), 11_689_512, 2 * 4_800),
        (LARGE_MOBILE, 5_483_032, 2 * 12_200),
        (SMALL_MOBILE, 2_542_856, 2 * 6_056),
    ],
    ids=lambda value: getattr(value, "arch", None),
)
def test_classifiers_have_torchvisions_sizes(config, number, statistics):
    params, stats = init_classifier(config, 1000, 0)
    assert count(params) == number
    assert count(stats) == statistics


@pytest.mark.slow
@pytest.mark.parametrize(("small_stem", "train"), [(False, True), (True, False)])
def test_resnet18_is_its_pytorch_twin(small_stem, train):
    twins: Any = pytest.importorskip("tests.torch_twins_views")
    torch = twins.torch
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, small_stem=small_stem)
    twin = twins.ResNet18(5, width=8, small_stem=small_stem).double().train(train)
    with torch.no_grad():
        for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
            if "norm" in name and tensor.is_floating_point():
                tensor += 0.2 * torch.rand_like(tensor)  # no zeros, no ones are left
            if tensor.is_floating_point():
                tensor.copy_(tensor.float())
    variables = jax.tree.map(jnp.asarray, twins.variables(twin))
    # The last norm of training sees 32 values or more: of few, it magnifies rounding.
    x = images(8, side=64 if train else 16)
    cotangent = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)

    @quick_jit
    def run(params, x):
        def classify(params, x):
            return apply_classifier(
                config, params, variables["batch_stats"], x, train=train
            )

        out, pullback, stats = jax.vjp(classify, params, x, has_aux=True)
        return out, stats, *pullback(jnp.asarray(cotangent))

    out, stats, param_grads, image_grads = run(variables["params"], x)
    nchw = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2)).double().requires_grad_()
    expected = twin(nchw)
    expected.backward(torch.tensor(cotangent).double())
    assert_close(out, expected.detach().numpy())
    assert_close(image_grads, nchw.grad.numpy().transpose(0, 2, 3, 1))
    after = twins.variables(twin)["batch_stats"]
    means, variances = (
        {path: value for path, value in by_path(after).items() if path[-1] == name}
        for name in ("mean", "var")
    )
    assert_close({path: by_path(stats)[path] for path in means}, means)
    if not train:  # in training PyTorch keeps the unbiased variance
        assert_close({path: by_path(stats)[path] for path in variances}, variances)
    with torch.no_grad():
        for tensor in twin.parameters():
            tensor.copy_(tensor.grad)
    expected = twins.variables(twin)["params"]
    largest = max(np.max(np.abs(g)) for g in jax.tree.leaves(expected))
    assert_close(param_grads, expected, scale=largest)


def test_a_twin_at_full_width_has_as_many_weights():
    twins: Any = pytest.importorskip("tests.torch_twins_views")
    number = sum(tensor.numel() for tensor in twins.ResNet18(1000).parameters())
    assert number == 11_689_512


@pytest.mark.slow
@pytest.mark.parametrize("config", [ClassifierConfig(), SMALL_MOBILE])
def test_fresh_weights_follow_torchvisions_laws(config):
    params, stats = init_classifier(config, 100, 0)
    weights = by_path(params)
    for path, values in weights.items():
        values = np.asarray(values)
        if path[-1] == "kernel" and values.ndim == 4:
            fan_out = values.shape[0] * values.shape[1] * values.shape[3]
            std = math.sqrt(2.0 / fan_out)
        elif path[-1] == "kernel":
            fan_in = values.shape[0]
            std = 0.01 if config is SMALL_MOBILE else 1.0 / math.sqrt(3.0 * fan_in)
        else:
            continue
        # Standard errors of the mean and of the deviation, times 5.
        assert abs(values.mean()) < 5.0 * std / math.sqrt(values.size), path
        assert abs(values.std() / std - 1.0) < 5.0 / math.sqrt(2.0 * values.size), path
    for path, values in by_path(stats).items():
        np.testing.assert_array_equal(values, 1.0 if path[-1] == "var" else 0.0)
    bound = 1.0 / math.sqrt(weights["head", "kernel"].shape[0])
    head_bias = np.max(np.abs(weights["head", "bias"]))
    if config is SMALL_MOBILE:
        assert head_bias == 0.0
    else:
        assert 0.8 * bound < head_bias <= bound


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        pytest.param(
            dataclasses.replace(SMALL, small_stem=True, compute_dtype="bfloat16"),
            marks=pytest.mark.skipif(
                jax.__version_info__ >= (0, 12),
                reason="XLA of JAX 0.12 makes NaN of this program on CPU when it fuses "
                "it; every layer alone is right",
            ),
        ),
        SMALL_MOBILE,
        pytest.param(
            dataclasses.replace(SMALL_MOBILE, small_stem=True), marks=pytest.mark.slow
        ),
    ],
    ids=["resnet", "resnet-bf16", "mobile", "mobile-small-stem"],
)
def test_evaluation_keeps_examples_apart_and_statistics_as_they_are(config):
    (params, stats), x = init_classifier(config, 7, 0), images()
    logits, after = forward(config)(params, stats, x)
    assert logits.shape == (4, 7)
    assert logits.dtype == jnp.float32
    assert_identical(after, stats)
    reversed_logits, _ = forward(config)(params, stats, x[::-1])
    assert_close(reversed_logits[::-1], logits, 1e-5)


@pytest.mark.slow
def test_training_mobilenet_moves_its_statistics_by_a_hundredth():
    (params, stats), x = init_classifier(SMALL_MOBILE, 7, 0), images()
    _, after = forward(SMALL_MOBILE, train=True)(params, stats, x)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normal = (np.asarray(x, np.float64) - mean) / std
    kernel = np.asarray(params["stem"]["conv"]["kernel"], np.float64)
    padded = np.pad(normal, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [
        padded[:, i : i + 32 : 2, j : j + 32 : 2] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    ]
    h = np.sum(taps, axis=0)
    moved = after["stem"]["norm"]
    assert_close(moved["mean"], 0.01 * h.mean(axis=(0, 1, 2)))
    assert_close(moved["var"], 0.99 + 0.01 * h.var(axis=(0, 1, 2)))


@pytest.mark.slow
def test_dropout_of_mobilenet_acts_in_training_only():
    (params, stats), x = init_classifier(SMALL_MOBILE, 7, 0), images()
    run = forward(SMALL_MOBILE)
    plain, _ = run(params, stats, x)
    one, two = (run(params, stats, x, dropout_key=jax.random.key(i))[0] for i in (0, 1))
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "set width to a whole number"),
        ({"arch": "mobilenet_v3_small", "width": 32}, "leave width at 64"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        ClassifierConfig(**options)
