import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.errors import UserError
from jaxgrow.inpainting import saved_models
from jaxgrow.inpainting.saved_models import (
    find_generator,
    load_generator,
    save_generator,
)
from jaxgrow.nets.growing import NetConfig
from jaxgrow.storage import tensor_file
from tests.support.generators import SMALL, random_generator, write_generator


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "generator_r4.safetensors"
    write_generator(path, 4)
    return path


@pytest.mark.parametrize(
    "config",
    [
        NetConfig(skip="add", compute_dtype="bfloat16", slope=0.1 + 0.2),
        NetConfig(width=7, kernel_sizes=(3, 5), norm="batch", activation="gelu"),
    ],
    ids=["spectral", "batch"],
)
def test_a_generator_comes_back_bit_for_bit(config, tmp_path):
    info = {"data": "photos", "steps": [1, 2], "psnr": 0.1 + 0.2}
    wrote = write_generator(tmp_path / "g.safetensors", 4, config, info=info)
    read = load_generator(tmp_path / "g.safetensors")
    assert read[2:] == (config, 4, info)
    assert jax.tree.structure(read[:2]) == jax.tree.structure(wrote[:2])
    for a, b in zip(jax.tree.leaves(read[:2]), jax.tree.leaves(wrote[:2]), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_equal_generators_make_equal_files(file, tmp_path):
    write_generator(tmp_path / "again.safetensors", 4)
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(file, data, tmp_path_factory):
    content = bytearray(file.read_bytes())
    offset = data.draw(st.integers(0, len(content) - 1))
    content[offset] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "g.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"g\.safetensors"):
        load_generator(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_file_cut_short_is_refused(kept, file, tmp_path):
    path = tmp_path / "short.safetensors"
    path.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"short\.safetensors is damaged or no"):
        load_generator(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_generator(tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="cannot read"):
        load_generator(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "jaxgrow"),
        ({"format": "pt"}, "jaxgrow"),
        ({"jaxgrow": "{}"}, "format"),
        ({"jaxgrow": "[]"}, "list"),
        ({"jaxgrow": "{"}, "Expecting"),
        ({"jaxgrow": '{"format": "jaxgrow generator 9"}'}, "generator 9"),
    ],
)
def test_another_kind_of_safetensors_is_refused(metadata, reason, tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(3, np.float32)}, path, metadata)
    with pytest.raises(UserError, match=f"other.* is no generator .*{reason}"):
        load_generator(path)


def test_arrays_of_another_network_are_refused_by_name(file, tmp_path):
    tensors = safetensors.numpy.load_file(file)
    with safetensors.safe_open(file, "numpy") as opened:
        header = json.loads(opened.metadata()["jaxgrow"])
    kind = header.pop("format")
    del header["digest"]
    for name in ("params/r4_up/out/conv/kernel", "params/r4_extra/conv/kernel"):
        path = tmp_path / "wrong.safetensors"
        changed = {**tensors, name: np.zeros((2, 2), np.float32)}
        tree = traverse_util.unflatten_dict(changed, sep="/")
        tensor_file.save_tensors(path, kind, header, tree)
        with pytest.raises(UserError, match=rf"{name} is float32\(2, 2\) in the file"):
            load_generator(path)


def test_a_network_of_another_shape_is_not_saved(tmp_path):
    saved = random_generator(4)
    path = tmp_path / "g.safetensors"
    with pytest.raises(ValueError, match=r"r8_.* is absent in the file"):
        save_generator(path, saved.params, saved.stats, SMALL, 8, {})
    assert not path.exists()


def test_a_folder_in_place_of_a_folder_that_is_a_file_is_no_bug(file, tmp_path):
    (tmp_path / "run").write_text("")
    saved = random_generator(4)
    with pytest.raises(UserError, match="cannot write"):
        save_generator(tmp_path / "run" / "g.safetensors", *saved)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run" / "weights"
    folder.mkdir(parents=True)
    for resolution in (4, 8, 16):
        (folder / saved_models.file_name(resolution)).touch()
    (folder / "generator_r32.safetensors.tmp").touch()
    return tmp_path / "run"


def test_a_run_gives_its_largest_weights_or_the_chosen(run):
    assert find_generator(run) == run / "weights" / "generator_r16.safetensors"
    assert find_generator(str(run), 8) == run / "weights" / "generator_r8.safetensors"
    assert find_generator(run / "weights") == find_generator(run)
    assert find_generator(find_generator(run, 4)) == find_generator(run, 4)


def test_weights_that_are_not_there_are_asked_for_in_one_sentence(run, tmp_path):
    with pytest.raises(UserError, match="no weights for 32 px, but for 4, 8, 16"):
        find_generator(run, 32)
    with pytest.raises(UserError, match="no such file or directory"):
        find_generator(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"generator_r32\.safetensors in .*empty: name a run"
    ):
        find_generator(tmp_path / "empty")


def test_without_a_source_the_shipped_weights_are_meant(run, monkeypatch):
    monkeypatch.setattr(saved_models, "SHIPPED", run / "weights")
    assert find_generator() == run / "weights" / "generator_r16.safetensors"
    monkeypatch.setattr(saved_models, "SHIPPED", run / "absent")
    with pytest.raises(UserError, match="in jaxgrow itself: name a run directory"):
        find_generator()


def test_the_header_can_be_read_without_the_package(file):
    with safetensors.safe_open(file, "numpy") as opened:
        header = json.loads(opened.metadata()["jaxgrow"])
    assert header["resolution"] == 4
    assert header["config"]["kernel_sizes"] == [1, 3]
