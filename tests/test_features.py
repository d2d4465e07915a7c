"""The feature network against PyTorch's layers, and its file against bad ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from jaxgrow.errors import UserError
from jaxgrow.nets.features import VGG19Features, load_vgg19, make_features_fn
from jaxgrow.partition import count_params
from tests.oracles import assert_close, assert_identical


NUM_PARAMETERS = 260_160
METADATA = {"network": "vgg19"}


@pytest.fixture(scope="module")
def params():
    """Random weights that keep the scale of what passes through."""
    x = jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.float32)
    shapes = jax.eval_shape(VGG19Features().init, jax.random.key(0), x)["params"]
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = np.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32)

    return jax.tree.map(draw, shapes)


@pytest.fixture(scope="module")
def flat(params):
    return {"/".join(k): np.asarray(v) for k, v in flatten_dict(params).items()}


def test_the_first_two_blocks_have_260160_parameters(params):
    assert count_params(params) == NUM_PARAMETERS


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


def test_weights_come_back_from_their_file(params, flat, tmp_path):
    path = tmp_path / "vgg19.safetensors"
    save_file(flat, path, METADATA)
    assert_identical(load_vgg19(path), params)


def test_weights_of_another_network_are_refused_by_name(flat, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(flat, path, {"network": "alexnet"})
    with pytest.raises(UserError, match=r"other\.safetensors holds weights of alexnet"):
        load_vgg19(path)
    save_file(flat, path)
    with pytest.raises(UserError, match="of an unnamed network, not of vgg19"):
        load_vgg19(path)


@pytest.mark.parametrize("length", [0, 7, 100, 5_000])
def test_a_file_that_was_cut_short_is_refused_by_its_path(flat, tmp_path, length):
    path = tmp_path / "short.safetensors"
    save_file(flat, path, METADATA)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"cannot read VGG19 weights from .*short"):
        load_vgg19(path)


def test_a_file_that_is_not_there_is_refused_by_its_path(tmp_path):
    with pytest.raises(UserError, match=r"cannot read VGG19 weights from .*nowhere"):
        load_vgg19(tmp_path / "nowhere.safetensors")


def test_arrays_of_other_shapes_or_names_are_refused(flat, tmp_path):
    path = tmp_path / "shapes.safetensors"
    transposed = flat | {"conv1_1/kernel": np.zeros((64, 3, 3, 3), np.float32)}
    fewer = {name: array for name, array in flat.items() if name != "conv2_2/bias"}
    for arrays in (transposed, fewer):
        save_file(arrays, path, METADATA)
        with pytest.raises(UserError, match="VGG19's first blocks are"):
            load_vgg19(path)
