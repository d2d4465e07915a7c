"""Files of pretrained weights: what comes back, and which files are refused."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxgrow.errors import UserError
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.pretrained import networks
from jaxgrow.pretrained.networks import Pretrained, WeightsProvenance
from jaxgrow.storage import tensor_file
from tests.support.oracles import assert_identical
from tools.bridge import convert


def provenance(network: Any = "vgg19", **options) -> WeightsProvenance:
    given: dict[str, Any] = {
        "network": network,
        "source": "a test",
        "licence": "none",
        "source_sha256": None,
        "is_random": True,
        "input": networks.input_format(network),
        "num_blocks": 2 if network in networks.PERCEPTUAL else None,
    }
    return WeightsProvenance(**{**given, **options})


@pytest.fixture(scope="module")
def vgg19():
    about = provenance()
    return Pretrained(convert.random_variables(about, 0), about)


@pytest.fixture
def path(vgg19, tmp_path):
    networks.save(tmp_path / "vgg19.safetensors", vgg19)
    return tmp_path / "vgg19.safetensors"


def rewrite(path, change, header=None):
    """Writes the file again with other variables, whole and with a right digest."""
    variables = networks.load_features(path, "vgg19").variables
    about = {"provenance": provenance(), **(header or {})}
    tensor_file.save_tensors(path, "jaxgrow pretrained 1", about, change(variables))


def test_weights_and_provenance_come_back_bit_for_bit(path, vgg19):
    found = networks.load_features(path, "vgg19")
    assert found.provenance == vgg19.provenance
    assert_identical(found.variables, vgg19.variables)


def test_random_weights_are_named_so_and_trained_ones_are_not(path, vgg19):
    assert networks.load_perceptual(path).provenance.label == (
        "vgg19 with RANDOM weights"
    )
    trained = dataclasses.replace(vgg19.provenance, is_random=False)
    assert trained.label == "vgg19"


def test_system_1_names_random_weights_and_says_how_to_get_real_ones(
    path, tmp_path, monkeypatch
):
    from experiments.places_grow.config import VGG_WEIGHTS, Config
    from experiments.places_grow.prepare import load_features

    features_fn, note = load_features(Config(run_dir=tmp_path, vgg_weights=path))
    assert features_fn is not None
    assert note == f"perceptual term on: vgg19 with RANDOM weights from {path}"
    found = load_features(Config(run_dir=tmp_path, vgg_weights=None))
    assert found == (None, "perceptual term off: vgg_weights is None")
    monkeypatch.chdir(tmp_path)
    features_fn, note = load_features(Config(run_dir=tmp_path))
    assert features_fn is None
    command = "python -m tools.export_weights vgg19 --prefix blocks12 --out "
    assert note == f"perceptual term off: it needs weights: {command}{VGG_WEIGHTS}"
    absent = tmp_path / "absent.safetensors"
    with pytest.raises(UserError, match=f"no weights at {absent}: no such file"):
        load_features(Config(run_dir=tmp_path, vgg_weights=absent))


def test_lpips_of_random_weights_says_so(tmp_path):
    about = provenance("squeezenet_lpips")
    path = tmp_path / "lpips.safetensors"
    networks.save(path, Pretrained(convert.random_variables(about, 0), about))
    assert networks.load_lpips(path).label == "LPIPS (SqueezeNet, RANDOM weights)"
    with pytest.raises(UserError, match=r"of squeezenet_lpips, not of vgg19 or hed"):
        networks.load_perceptual(path)


def test_weights_of_another_network_are_refused_by_name(path):
    with pytest.raises(
        UserError, match=r"holds weights of vgg19, not of inception_fid"
    ):
        networks.load_inception(path)


def test_more_blocks_than_a_prefix_has_are_refused(path):
    with pytest.raises(UserError, match="holds 2 blocks of vgg19, not 5: export all"):
        networks.load_perceptual(path, 5)


@pytest.mark.parametrize("length", [0, 7, 100, 5_000])
def test_a_file_that_was_cut_short_is_refused_by_its_path(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"vgg19\.safetensors is damaged"):
        networks.load_perceptual(path)


def test_a_file_with_one_other_bit_is_refused(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: its content has changed"):
        networks.load_perceptual(path)


def test_a_file_that_is_not_there_is_refused_by_its_path(tmp_path):
    with pytest.raises(UserError, match=r"no weights at .*nowhere"):
        networks.load_perceptual(tmp_path / "nowhere.safetensors")


def test_files_of_other_versions_and_makers_are_refused(path, vgg19):
    command = "`python -m tools.export_weights vgg19`"
    tensor_file.save_tensors(path, "jaxgrow pretrained 2", {}, vgg19.variables)
    with pytest.raises(UserError, match=f"format 'jaxgrow pretrained 2'.: .*{command}"):
        networks.load_perceptual(path)
    save_file({"features.0.weight": np.zeros((64, 3, 3, 3), np.float32)}, path)
    with pytest.raises(
        UserError, match=f"holds no weights that this version.*{command}"
    ):
        networks.load_perceptual(path)


def test_arrays_of_other_shapes_names_and_types_are_refused(path):
    def change(name, array):
        def apply(variables):
            conv = {**variables["params"]["conv1_1"], name: array}
            return {"params": {**variables["params"], "conv1_1": conv}}

        return apply

    for name, array in (
        ("kernel", np.zeros((64, 3, 3, 3), np.float32)),
        ("bias", np.zeros(64, np.float16)),
        ("scale", np.zeros(64, np.float32)),
    ):
        rewrite(path, change(name, array))
        message = f"are not those of vgg19: params/conv1_1/{name} is"
        with pytest.raises(UserError, match=message):
            networks.load_perceptual(path)
        networks.save(
            path, Pretrained(convert.random_variables(provenance(), 0), provenance())
        )


def test_a_network_of_other_inputs_is_refused(path):
    wanted = dataclasses.replace(networks.input_format("vgg19"), order="BGR")
    other = {"provenance": provenance(input=wanted)}
    rewrite(path, lambda variables: variables, other)
    with pytest.raises(UserError, match="a vgg19 for other inputs"):
        networks.load_perceptual(path)


def test_arrays_that_are_not_the_networks_are_never_written(tmp_path, vgg19):
    with pytest.raises(ValueError, match="not the arrays of hed-vgg16"):
        networks.save(
            tmp_path / "x.safetensors",
            Pretrained({"params": {}}, provenance("hed-vgg16")),
        )


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    about = provenance("mobilenetv3_small", num_classes=1000, norm="timm")
    path = tmp_path_factory.mktemp("weights") / "mobilenet.safetensors"
    networks.save(path, Pretrained(convert.random_variables(about, 0), about))
    return path


@pytest.mark.slow
def test_fine_tuning_starts_from_the_files_weights_and_a_fresh_head(mobilenet):
    config = ClassifierConfig(arch="mobilenet_v3_small", small_stem=True)
    whole = networks.load_pretrained_classifier(mobilenet, config)
    start = networks.load_pretrained_classifier(mobilenet, config, 13, seed=1)
    assert start.config == dataclasses.replace(config, norm="timm")
    assert start.params["head"]["bias"].shape == (13,)
    assert (start.new_head, whole.new_head) == (True, False)
    for tree in (start.params, whole.params):
        tree.pop("head")
    assert_identical(start.params, whole.params)
    assert_identical(start.stats, whole.stats)


def test_a_classifier_of_another_shape_cannot_start_from_a_file(mobilenet, tmp_path):
    with pytest.raises(UserError, match="mobilenetv3_small, not of resnet18"):
        networks.load_pretrained_classifier(mobilenet, ClassifierConfig())
    about = provenance("resnet18", num_classes=2, norm="torchvision")
    path = tmp_path / "resnet.safetensors"
    networks.save(path, Pretrained(convert.random_variables(about, 0), about))
    for config in (ClassifierConfig(width=32), ClassifierConfig(small_stem=True)):
        with pytest.raises(UserError, match="set width to 64 and small_stem to False"):
            networks.load_pretrained_classifier(path, config)
