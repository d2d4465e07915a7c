"""The perceptual loss's features against PyTorch's layers, and their options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.nets.vgg19 import VGG19Features, first_blocks, make_features_fn
from jaxgrow.training.train_state import count_params
from tests.support.oracles import assert_close, assert_identical, quick_jit


NUM_PARAMETERS = {2: 260_160, 5: 20_024_384}


def shapes(num_blocks):
    x = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    return jax.eval_shape(VGG19Features(num_blocks).init, jax.random.key(0), x)[
        "params"
    ]


@pytest.fixture(scope="module")
def params():
    """Random weights that keep the scale of what passes through."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = np.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32)

    return jax.tree.map(draw, shapes(2))


@pytest.mark.parametrize("num_blocks", [2, 5])
def test_the_blocks_of_vgg19_have_its_number_of_parameters(num_blocks):
    assert count_params(shapes(num_blocks)) == NUM_PARAMETERS[num_blocks]


def test_features_and_their_input_gradient_are_those_of_a_torch_twin(params):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    layers = []
    for name in ("conv1_1", "conv1_2", "conv2_1", "conv2_2"):
        kernel = np.asarray(params[name]["kernel"]).transpose(3, 2, 0, 1)
        conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        conv.weight = nn.Parameter(torch.tensor(kernel))
        conv.bias = nn.Parameter(torch.tensor(np.asarray(params[name]["bias"])))
        layers += [conv, nn.ReLU()]
        if name == "conv1_2":
            layers.append(nn.MaxPool2d(2))
    twin = nn.Sequential(*layers).double()
    x = np.random.default_rng(1).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    mean = torch.tensor([0.485, 0.456, 0.406]).double().reshape(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).double().reshape(3, 1, 1)

    of_x = torch.tensor(x.transpose(0, 3, 1, 2)).double().requires_grad_()
    normed = ((of_x + 1) / 2 - mean) / std
    relu1_2, relu2_2 = twin[:4](normed), twin(normed)
    (relu1_2.square().sum() + relu2_2.square().sum()).backward()
    expected = [
        f.detach().numpy().transpose(0, 2, 3, 1) for f in (relu1_2, relu2_2, of_x.grad)
    ]

    @jax.jit
    def run(x):
        features, pull_back = jax.vjp(make_features_fn(params), x)
        return *features, *pull_back([2.0 * f for f in features])

    found = list(run(x))
    assert [f.shape for f in found[:2]] == [(2, 8, 8, 64), (2, 4, 4, 128)]
    assert_close(found, expected)


def test_the_first_block_alone_is_the_start_of_both(params):
    x = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    first = quick_jit(make_features_fn(first_blocks(params, 1)))(x)
    assert_identical(first, quick_jit(make_features_fn(params))(x)[:1])


def test_a_networks_own_mean_and_deviation_take_imagenets_place(params):
    """Colours c under ImageNet's law are mean' + std' (c - mean) / std under ours."""
    x = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    expected = quick_jit(make_features_fn(params))(x)
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    unit = ((x + 1) / 2 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    other = (2 * (np.array(mean) + std * unit) - 1).astype(np.float32)
    net = make_features_fn(params, mean=mean, std=std)
    assert_close(quick_jit(net)(other), expected)


def test_bfloat16_products_give_nearly_the_same_features_in_float32(params):
    x = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)
    found = quick_jit(make_features_fn(params, compute_dtype="bfloat16"))(x)
    assert {f.dtype for f in found} == {jnp.dtype("float32")}
    expected = quick_jit(make_features_fn(params))(x)
    assert_close(found, expected, 2e-2)
    assert np.abs(found[1] - expected[1]).max() > 0.0
