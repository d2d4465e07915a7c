import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from experiments.report import write_report
from jaxgrow import viz
from jaxgrow.errors import UserError
from jaxgrow.storage import files
from jaxgrow.training.logs import MetricWriter


VOID = {"meta", "img", "br", "hr", "link", "path", "use", "rect"}
EVIL = "<script>alert('x')</script> & \"quoted\" $x_$"


class Page(HTMLParser):
    """Fails on a tag that is closed out of order; keeps tags and visible text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return re.sub(r"\s+", " ", " ".join(self.text))


def metrics(method, psnr):
    return {
        "method": method,
        "bin": "10-50",
        "num_images": 5,
        "metrics": {
            "psnr_hole": psnr,
            "psnr_hole_pooled": psnr - 1,
            "ssim_hole": psnr / 37,
            "l1_hole": 1.85 / psnr,
            "hf_error": None,
            "mosaic": -0.01 if method == "jaxgrow" else 0.2,
        },
    }


def difference(metric, baseline, mean, reach):
    found = {"metric": metric, "bin": "overall", "baseline": baseline, "mean": mean}
    return found | {"low": mean - reach, "high": mean + reach}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "demo <1>"
    writer = MetricWriter(run_dir / "metrics.jsonl")
    for step in range(10):
        loss = np.nan if step == 4 else 1.0 / (step + 1)
        values = {"g/mse": loss, "d/loss": 0.7, "g/grad_norm": 0.1, "val_psnr": 12.0}
        values |= {EVIL: 0.5, f"g/{EVIL}": 0.6}
        writer.write(step, stage=4, stage_step=step, phase="train", **values)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    panel = viz.image_grid(np.stack([images] * 4, axis=1))
    for step in (2, 4, 6, 8, 9):
        viz.save_png(run_dir / "samples" / f"r004_{step:06}.png", panel)
    viz.save_png(run_dir / "evaluation" / "panel.png", panel)
    stage = {"resolution": 4, "parameters": 66447, "wall_s": 75.2, "ended_by": EVIL}
    stage |= {"peak_memory_mb": 91.5, "argument_mb": 3.7, "examples_per_gib": 746}
    stage |= {"measured_mb": 1204.0, "measured_by": "process"}
    files.write_json(run_dir / "stages.json", [stage])
    command = ["python", "-m", "experiments.places_grow", "--run-dir", EVIL]
    versions = {"python": "3.11", "jax": EVIL, "command": command}
    files.write_json(run_dir / "versions.json", versions)
    files.write_json(run_dir / "config.json", {"net": {"width": 27, "norm": EVIL}})
    notes = ["perceptual term off: no VGG19 weights at a/b (tool)", EVIL]
    files.write_json(run_dir / "notes.json", notes)
    result = {
        "resolution": 4,
        "reference": "jaxgrow",
        "num_photos": 24,
        "rows": [metrics("jaxgrow", 18.5), metrics("Telea", 17.25), metrics(EVIL, 9)],
        "differences": [
            difference("psnr_hole", "Telea", 0.5, 0.25),
            difference("psnr_hole", "harmonic", -0.5, 0.25),
            difference("psnr_hole_pooled", "Telea", 0.125, 0.25),
            difference("psnr_hole_pooled", "harmonic", 0.5, 0.25),
            difference("psnr_hole_pooled", EVIL, -9.0, 1.0),
        ],
        "missing": {"unet": "needs time"},
    }
    files.write_json(run_dir / "evaluation" / "results.json", {"results": [result]})
    return run_dir


@pytest.fixture(scope="module")
def page(finished_run):
    return Page(write_report(finished_run))


def test_the_page_needs_nothing_outside_itself(page):
    assert len(page.all("img")) == 4
    for image in page.all("img"):
        assert image["src"].startswith("data:image/png;base64,")
        assert image["alt"]
        assert int(image["width"]) > 300
    assert not {"script", "link", "iframe", "object"} & {name for name, _ in page.tags}
    assert not re.search(r"https?:|file:|@import|url\((?!#)", page.source)
    for _, attributes in page.tags:
        assert (attributes.get("href") or "#").startswith("#")


def test_ids_are_unique_and_every_reference_finds_its_own(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", page.source))
    assert {a or b for a, b in used} <= set(ids)


def test_text_of_users_is_escaped_wherever_it_shows(page):
    assert "<script" not in page.source
    assert page.words.count("<script>alert(") == page.words.count("$x_$") == 10
    assert "demo <1>" in page.words


def test_the_headline_has_the_figures_of_the_files(page):
    for text in (
        "final stage 4 px",
        "generator parameters 66,447",
        "training time 1 min 15 s",
        "pooled over all holes it is level with Telea, the best of them (+0.12 dB, "
        "95 % interval -0.12 to +0.38)",
        "in the mean over pictures it is behind harmonic, the best of them (-0.50 dB, "
        "95 % interval -0.75 to -0.25).",
        "perceptual term off Notes",
        "python -m experiments.places_grow --run-dir",
        "net.width 27",
        "python 3.11",
        "unet: needs time",
    ):
        assert text in page.words


def test_a_stages_memory_has_its_table_and_says_who_measured(page):
    assert f"4 px 66,447 1 min 15 s {EVIL} 91.5 3.7 746 1,204.0" in page.words
    assert "the peak since the process began: that of the process." in page.words


def test_best_figures_are_marked_by_what_better_means(page):
    best = re.findall(r'<td class="best">([^<]+)</td>', page.source)
    by_kind_of_metric = ["17.50", "18.50", "0.500", "0.1000", "-0.010"]
    assert best == [*by_kind_of_metric, "17.50", "18.50"]


def test_there_is_a_chart_per_kind_of_curve_with_readable_text(page):
    charts = [a["aria-label"] for a in page.all("svg")]
    shared = ["Generator losses", "Discriminator", "Gradient norms"]
    assert charts == [*shared, "val_psnr", EVIL]
    assert "step of the stage" in page.words
    assert "g/mse" in page.words
    assert page.source.count("currentColor") > 20


def test_the_last_panel_of_a_stage_comes_first(page):
    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", page.source)
    assert captions == ["step 9", "step 2", "step 6"]


@pytest.mark.parametrize(
    "missing",
    [
        "metrics.jsonl",
        "samples",
        "evaluation",
        "evaluation/panel.png",
        "stages.json",
        "versions.json",
        "config.json",
        "notes.json",
    ],
)
@pytest.mark.parametrize("how", ["absent", "broken", "foreign"])
def test_a_missing_part_is_left_out_and_a_broken_one_named(
    finished_run, tmp_path, missing, how
):
    run_dir = tmp_path / "run"
    shutil.copytree(finished_run, run_dir)
    path = run_dir / missing
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if missing != "metrics.jsonl":
        (run_dir / "metrics.jsonl").write_text("")  # drawing is slow and the same
    if how == "absent" or not path.suffix.startswith(".json"):
        Page(write_report(run_dir))
        return
    path.write_bytes(b'{"cut sh\n\n' if how == "broken" else b"3\n3\n")
    with pytest.raises(
        UserError, match=f"{path.name} is damaged or of another version"
    ):
        write_report(run_dir)


FOREIGN = [
    {"stages.json": [3]},
    {"stages.json": [{"wall_s": "x"}]},
    {"evaluation/results.json": {"results": [{}]}},
    {"evaluation/results.json": {"results": 3}},
    {"evaluation/results.json": {"results": [{"resolution": 8, "rows": [[]]}]}},
    {"versions.json": {"command": 3}},
    {"metrics.jsonl": {"stage": "x", "stage_step": 1}},
]


@pytest.mark.parametrize("content", FOREIGN, ids=str)
def test_a_whole_file_with_other_content_is_named(tmp_path, content):
    ((name, found),) = content.items()
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found) + "\n")
    with pytest.raises(
        UserError, match=f"{path.name} is damaged or of another version"
    ):
        write_report(tmp_path)


def test_an_empty_directory_gives_an_empty_page(tmp_path):
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path)
    assert page.all("img") == page.all("svg") == page.all("table") == []


def test_a_broken_sample_is_left_out_and_a_foreign_file_ignored(tmp_path):
    samples = tmp_path / "samples"
    viz.save_png(samples / "r8_1.png", Image.new("RGB", (400, 100)))
    (samples / "r8_2.png").write_bytes((samples / "r8_1.png").read_bytes()[:60])
    shutil.copy(samples / "r8_1.png", samples / "thumbnail.png")
    page = Page(write_report(tmp_path))
    assert len(page.all("img")) == 1
    assert "8 px" in page.words


def test_without_an_evaluation_the_last_validation_is_shown(tmp_path):
    rows = [{"step": 1, "val_psnr": 11.0}, {"step": 2, "val_psnr": 12.5}, {"step": 3}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text)
    page = Page(write_report(tmp_path))
    assert "val psnr 12.5" in page.words


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"cannot write .*report.html: no space left"):
        write_report(tmp_path)
