"""Sources of arrays: idx files, digits, TensorFlow data sets."""

import gzip
import struct

import numpy as np
import pytest

from jaxgrow.data import sources
from jaxgrow.data.sources import DataConfig, open_split
from jaxgrow.errors import UserError


ABSURD = [(3, 0, 0), (0, 8, 8), (3, 8, 0), (2**32 - 1, 2**32 - 1, 2**32 - 1)]


def idx_bytes(pixels):
    return struct.pack(">4I", 0x803, *pixels.shape) + pixels.tobytes()


class TestIdx:
    @pytest.fixture
    def grey(self):
        return np.random.default_rng(0).integers(0, 256, (4, 28, 28)).astype(np.uint8)

    @pytest.mark.parametrize("stem", ["images-idx3-ubyte", "images.idx3-ubyte"])
    @pytest.mark.parametrize("compress", [False, True])
    def test_mnist_files_are_padded_to_32_and_repeated(
        self, tmp_path, grey, stem, compress
    ):
        for part, pixels in (("train", grey), ("t10k", grey[:2])):
            content = idx_bytes(pixels)
            name = f"{part}-{stem}{'.gz' if compress else ''}"
            (tmp_path / name).write_bytes(
                gzip.compress(content) if compress else content
            )
        train, val = open_split(DataConfig(source="idx", path=tmp_path), 0)
        assert (len(train), len(val)) == (4, 2)
        assert train[0].shape == (32, 32, 3)
        np.testing.assert_array_equal(train[3][2:30, 2:30, 1], grey[3])
        assert train[3].sum() == 3 * grey[3].astype(int).sum()
        assert train.fingerprint() != val.fingerprint()

    def test_no_files_wrong_files_and_short_files_are_named(self, tmp_path, grey):
        with pytest.raises(UserError, match="holds no train-images-idx3-ubyte"):
            sources.idx_images(tmp_path, "train")
        file = tmp_path / "train-images-idx3-ubyte"
        absurd = [struct.pack(">4I", 0x803, *shape) for shape in ABSURD]
        short = [idx_bytes(grey)[:-1], b"\0\0\x08\x01" + bytes(40), b"x"]
        for content in (*short, *absurd):
            file.write_bytes(content)
            with pytest.raises(
                UserError, match="train-images-idx3-ubyte cannot be read"
            ):
                sources.idx_images(tmp_path, "train")
        file.unlink()
        broken = gzip.compress(idx_bytes(grey))[:-30]
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(broken)
        with pytest.raises(UserError, match=r"ubyte\.gz cannot be read"):
            sources.idx_images(tmp_path, "train")


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    found = sources.digits()
    assert len(found) == 1797
    grey = datasets.load_digits().images / 16
    np.testing.assert_allclose(found.pixels[..., 0] / 255, grey, atol=0.5 / 255)
    train, val = open_split(DataConfig(source="digits"), 0)
    assert (len(train), len(val)) == (1614, 183)  # drawn with probability 0.1 each


class TestTfds:
    @pytest.mark.filterwarnings("ignore")  # of the library's own
    def test_places365_small_opens_by_name(self):
        tfds = pytest.importorskip("tensorflow_datasets")
        with tfds.testing.mock_data(num_examples=5):
            train, val = open_split(DataConfig(source="tfds"), 0)
            assert (len(train), len(val)) == (5, 5)
            assert train[3].shape == (256, 256, 3)
            assert train[3].dtype == np.uint8
        assert train.fingerprint() != val.fingerprint()

    @pytest.mark.filterwarnings("ignore")
    def test_an_unprepared_set_is_explained(self, tmp_path):
        pytest.importorskip("tensorflow_datasets")
        with pytest.raises(UserError, match="tfds build places365_small"):
            open_split(DataConfig(source="tfds", path=tmp_path), 0)

    def test_the_missing_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "tensorflow_datasets", None)
        with pytest.raises(UserError, match=r"pip install 'jaxgrow\[data\]'"):
            open_split(DataConfig(source="tfds"), 0)
