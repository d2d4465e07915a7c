"""Networks exported from PyTorch twins of fresh random weights give their numbers."""

import functools
import importlib
import importlib.util
import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.nets.classifiers import ClassifierConfig, apply_classifier
from jaxgrow.nets.inception import InceptionFeatures
from jaxgrow.nets.squeezenet import SqueezeNetFeatures
from jaxgrow.pretrained import networks
from jaxgrow.storage import tensor_file
from tests.support.oracles import assert_close, quick_jit
from tools import export_weights


twins: Any = pytest.importorskip("tests.torch_twins_features")
torch = twins.torch

CLASSIFIERS = {
    "resnet18": twins.ResNet18,
    "mobilenetv3_small": functools.partial(twins.MobileNetV3, "small"),
    "mobilenetv3_large": functools.partial(twins.MobileNetV3, "large"),
}
slow = pytest.mark.slow


@pytest.fixture
def seed():
    """Another one each time; a failing test prints it."""
    value = secrets.randbits(31)
    print(f"seed {value}")
    return value


def export(tmp_path, net, state, **options):
    """The file that the tool makes of a state dict."""
    checkpoint, out = tmp_path / "checkpoint.pth", tmp_path / "out.safetensors"
    torch.save(state, checkpoint)
    line = [net, "--out", str(out), "--checkpoint", str(checkpoint)]
    line += [word for k, v in options.items() for word in (f"--{k}", str(v))]
    assert export_weights.main(line) == 0
    return out


def images(seed, batch, side, low=0.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(low, 1.0, (batch, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize("num_blocks", [2, pytest.param(5, marks=slow)])
def test_vgg19_is_its_twin_at_the_end_of_every_block(num_blocks, tmp_path, seed):
    twin = twins.randomise(twins.VGG19(), seed)
    options = {"prefix": "blocks12"} if num_blocks == 2 else {}
    path = export(tmp_path, "vgg19", twin.state_dict(), **options)
    net = networks.load_perceptual(path, num_blocks)
    assert net.provenance.num_blocks == num_blocks
    x = images(seed, 2, 32, low=-1.0)
    expected = twin.double().taps(twins.imagenet((twins.nchw(x) + 1) / 2), num_blocks)
    assert_close(quick_jit(net.features_fn)(x), [twins.nhwc(f) for f in expected])


@pytest.mark.slow
def test_squeezenet_and_lpips_are_their_twins(tmp_path, seed):
    twin = twins.randomise(twins.Lpips(), seed)
    with torch.no_grad():
        for name, tensor in twin.named_parameters():
            if name.startswith("lin"):
                tensor.abs_()
    path = export(tmp_path, "squeezenet_lpips", twin.state_dict())
    params = networks.load_features(path, "squeezenet_lpips").variables["params"]

    @quick_jit
    def taps(params, x):
        return SqueezeNetFeatures().apply({"params": params}, x)

    lpips, twin = networks.load_lpips(path), twin.double()
    for side in (64, 67):  # with and without the windows that an edge cuts off
        x, noise = images(seed, 2, side, low=-1.0), images(seed + 1, 2, side, low=-1.0)
        y = np.float32(0.8) * x + np.float32(0.2) * noise
        expected = [twins.nhwc(f) for f in twin.taps(twins.nchw(x))]
        assert_close(list(taps(params["net"], x)), expected)
        expected = twin(twins.nchw(x), twins.nchw(y)).detach().numpy()
        assert_close(lpips(x, y).values, expected, 1e-4)
    np.testing.assert_allclose(lpips(x, x).values, 0.0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "library"),
    [
        ("resnet18", "torchvision"),
        pytest.param("mobilenetv3_small", "timm", marks=slow),
        pytest.param("mobilenetv3_small", "torchvision", marks=slow),
        pytest.param("mobilenetv3_large", "timm", marks=slow),
        pytest.param("mobilenetv3_large", "torchvision", marks=slow),
    ],
)
@pytest.mark.parametrize("train", [False, pytest.param(True, marks=slow)])
def test_classifiers_are_their_twins(net, library, train, tmp_path, seed):
    twin = CLASSIFIERS[net](
        **({} if net == "resnet18" else {"timm": library == "timm"})
    )
    twin = twins.randomise(twin, seed)
    state_dict = twins.timm_state_dict if library == "timm" else type(twin).state_dict
    path = export(tmp_path, net, state_dict(twin))
    config = ClassifierConfig(arch=networks.ARCHITECTURES[net])
    start = networks.load_pretrained_classifier(path, config)
    assert start.config.norm == library
    assert not start.new_head
    # The last norm of training sees 64 values: of few, it magnifies rounding.
    x = images(seed, 16 if train else 2, 64 if train else 32)

    @quick_jit  # of the weights too: the compiler would fold constants for long
    def run(params, stats, x):
        return apply_classifier(start.config, params, stats, x, train)

    # In float64 as the twin: rounding is no part of what is exported.
    with jax.enable_x64(True):
        widen = functools.partial(jax.tree.map, lambda a: jnp.asarray(a, jnp.float64))
        start = start._replace(params=widen(start.params), stats=widen(start.stats))
        logits, stats = run(start.params, start.stats, jnp.asarray(x, jnp.float64))
    twin = twin.double().train(train)
    expected = twin(twins.imagenet(twins.nchw(x))).detach().numpy()
    assert_close(logits, expected, 1e-4)
    after = export(tmp_path, net, state_dict(twin.float()))
    after = networks.load_features(after, net).variables["batch_stats"]
    old, new, theirs = (tensor_file.flatten(t) for t in (start.stats, stats, after))
    for path, leaf in theirs.items():
        # PyTorch keeps the unbiased variance: n / (n - 1) of what the batch adds.
        loose = train and path.endswith("var")
        assert_close(new[path], leaf, 2e-2 if loose else 1e-4)
        assert train != np.array_equal(new[path], old[path])


@slow
def test_inception_is_its_twin_in_every_block_and_from_small_images(tmp_path, seed):
    from tests.support.torch_twins_inception import FidInception

    twin = twins.randomise(FidInception(), seed)
    path = export(tmp_path, "inception_fid", twin.state_dict())
    params = networks.load_features(path, "inception_fid").variables["params"]
    twin = twin.double()

    @quick_jit
    def blocks(params, x):
        return InceptionFeatures().apply({"params": params}, x)

    x = images(seed, 2, 107, low=-1.0)
    found: Any = blocks(params, x)
    with torch.no_grad():
        expected = {n: twins.nhwc(f) for n, f in twin.blocks(twins.nchw(x)).items()}
    expected["pool3"] = expected["pool3"][:, 0, 0]
    assert_close(found, expected, 1e-4)

    net = networks.load_inception(path)
    small = images(seed, 1, 40)
    enlarged = torch.nn.functional.interpolate(
        twins.nchw(small), (299, 299), mode="bilinear", align_corners=False
    )
    with torch.no_grad():
        expected = twin.blocks(2 * enlarged - 1)["pool3"][:, :, 0, 0].numpy()
    assert_close(quick_jit(net.features_fn)(small), expected, 1e-4)


@slow
def test_twins_have_the_keys_and_shapes_of_the_libraries():
    from tools.bridge import sources

    for name in ("timm", "torchvision"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    sources.declare_torchvision_operators(torch)
    timm: Any = importlib.import_module("timm")
    models: Any = importlib.import_module("torchvision.models")

    def shapes(state):
        return {key: tuple(tensor.shape) for key, tensor in state.items()}

    vgg = shapes(timm.create_model("vgg19").features.state_dict())
    assert shapes(twins.VGG19().features.state_dict()) == vgg
    theirs = shapes(models.squeezenet1_1(weights=None).features.state_dict())
    assert shapes(twins.squeezenet().state_dict()) == theirs
    for library in (timm.create_model("resnet18"), models.resnet18()):
        assert shapes(twins.ResNet18().state_dict()) == shapes(library.state_dict())
    for size in ("small", "large"):
        twin = twins.MobileNetV3(size, timm=False)
        theirs = getattr(models, f"mobilenet_v3_{size}")().state_dict()
        assert shapes(twin.state_dict()) == shapes(theirs)
        theirs = timm.create_model(f"mobilenetv3_{size}_100").state_dict()
        assert shapes(twins.timm_state_dict(twin)) == shapes(theirs)
