import json

import numpy as np
import pytest
from PIL import Image

from experiments import whole_photographs
from tests.support.generators import write_generator


@pytest.mark.parametrize("size", [(60, 90), (91, 40)])
def test_every_kind_of_hole_has_the_pictures_size_and_leaves_most_of_it(size):
    found = dict(whole_photographs.holes(*size, np.random.default_rng(0)))
    assert list(found) == ["box", "stroke", "scratch", "text"]
    for mask in found.values():
        assert mask.shape == size
        assert 0 < mask.mean() < 0.5


def test_figures_are_those_of_known_errors():
    images = [np.full((40, 60, 3), value, np.uint8) for value in (50, 100)]

    def off_by(shift):
        def fill(image, hole):
            wrong = image + np.uint8(shift * (image[0, 0, 0] // 50))
            return np.where(hole[..., None], wrong, image)

        return fill

    fills = {"right": off_by(0), "wrong": off_by(3)}
    errors, rows = whole_photographs.measure(fills, images, ["a", "b"], seed=0)
    psnr = [20 * np.log10(255 / 3), 20 * np.log10(255 / 6)]
    pooled = -10 * np.log10((3**2 + 6**2) / 2 / 255**2)
    for figures in whole_photographs.summarise(errors).values():
        assert figures["right"]["psnr_hole"] == pytest.approx(58.9, abs=0.1)
        assert figures["wrong"]["psnr_hole"] == pytest.approx(np.mean(psnr))
        assert figures["wrong"]["psnr_hole_pooled"] == pytest.approx(pooled)
    assert [(kind, len(row)) for kind, row in rows] == [("box", 4), ("stroke", 4)]
    panel = whole_photographs.draw_panel(rows, list(fills))
    assert panel.width > 4 * 320
    assert panel.height > 2 * 320


def test_a_command_writes_figures_and_a_panel(tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(image).save(tmp_path / "images" / "a.png")
    write_generator(tmp_path / "net.safetensors", 8)
    line = ["--images", str(tmp_path / "images"), "--out", str(tmp_path / "r.json")]
    line += ["--weights", str(tmp_path / "net.safetensors")]
    assert whole_photographs.main(line) == 0
    assert "| harmonic |" in capsys.readouterr().out
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["photographs"] == ["a.png"]
    assert set(found["summary"]["scratch"]) >= {"net, 8 px", "Telea", "harmonic"}
    assert (tmp_path / "r.png").exists()
    assert whole_photographs.main([*line[:-1], str(tmp_path / "absent")]) == 2
    assert "no weights at" in capsys.readouterr().err
