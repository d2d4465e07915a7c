"""The report of a run of System 2, from files written by hand."""

import html
import json
import re

import pytest
from PIL import Image

from experiments import report
from jaxgrow.errors import UserError


METHODS = ("diffusion", "copy", "reconstruction (ceiling)")


def row(method, given, num_given, psnr):
    metrics = {"psnr": psnr, "ssim": psnr / 40, "coherence": 2 * psnr}
    return {
        "method": method,
        "conditioning": given,
        "num_conditioning": num_given,
        "num_images": 3,
        "metrics": metrics,
    }


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return report.write_report(write_run(tmp_path_factory.mktemp("run"))).read_text()


def write_run(folder):
    rows = []
    for k, method in enumerate(METHODS):
        for size, given in ((1, "front"), (2, "front+<left>")):
            rows.append(row(method, given, size, 20.25 + k + size))
            rows.append(row(method, "", size, 20.25 + k + size))
    found = {
        "data": "synthetic",
        "size": 16,
        "num_objects": 156,
        "num_evaluations": 12,
        "coherence_classifier_accuracy": 97.8,
        "rows": rows,
    }
    points = [
        {"sampler": name, "evaluations": n, "ms_per_object": n, "psnr": 20.0 + n}
        for name in ("dpm++", "ddim")
        for n in (1, 4)
    ]
    entry = {
        "parameters": 1_478_275,
        "steps": 600,
        "wall_s": 100.0,
        "validation": {"psnr": 25.125},
    }
    memory = {
        "peak_memory_mb": 91.5,
        "argument_mb": 3.75,
        "examples_per_gib": 2746,
        "measured_mb": 1204.0,
        "measured_by": "device",
    }
    phases = {
        "autoencoder": entry | memory,
        "classify/resnet18-scratch-single-seed_0": entry | memory,
        "classify/resnet18-scratch-single-seed_1": entry,
        "classify/resnet18-scratch-augmented-seed_0": entry | memory,
        "classify/mobilenet_v3_small-scratch-single-seed_0": entry | memory,
    }
    metrics = [
        {"step": s, "phase": "score", "phase_step": s, "loss": 1.0 / s} for s in (1, 2)
    ]
    for name, content in {
        "config.json": {"experiment": "nmr_dimvida", "config": {"seed": 0}},
        "views/table_1.json": found,
        "views/curve.json": points,
        "phases.json": phases,
        "notes.json": ["synthetic objects of 13 classes"],
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    lines = "".join(json.dumps(m) + "\n" for m in metrics)
    (folder / "metrics.jsonl").write_text(lines)
    (folder / "samples").mkdir()
    for step in (1, 2):
        Image.new("RGB", (8, 8)).save(folder / "samples" / f"score_{step:06d}.png")
    Image.new("RGB", (8, 8)).save(folder / "views" / "panel.png")
    return folder


def text_of(page):
    return re.sub(r"<[^>]+>", " ", page)


def test_the_page_has_the_figures_of_the_files(page):
    text = re.sub(r"\s+", " ", text_of(page))
    for wanted in (
        "156 (synthetic)",
        "PSNR, 1 conditioning view 21.25 dB",
        "coherence, 2 conditioning views 44.5 %",
        "coherence of real views 97.8 %",
        "diffusion 21.25 22.25 0.531 0.556 42.5 44.5 needs weights needs weights",
        "autoencoder 1,478,275 600 1 min 40 s 6.0 psnr 25.12",
        "synthetic objects of 13 classes",
        "LPIPS and FID need feature networks",
    ):
        assert wanted in text, wanted
    assert "front+&lt;left&gt;" in page
    assert page.count("<svg") == 2 + 1  # PSNR by evaluations and by time; the loss
    assert page.count("<img") == 3


def test_every_networks_memory_is_shown_once(page):
    table = page[page.index("<h2>Networks</h2>") : page.index("<h3>score</h3>")]
    text = re.sub(r"\s+", " ", text_of(table))
    figures = "1,478,275 600 1 min 40 s 6.0 psnr 25.12 91.5 3.8 2,746 1,204.0"
    kinds = ("resnet18", "mobilenet_v3_small")
    names = [f"classify/{kind}-scratch-single-seed_0" for kind in kinds]
    for name in ("autoencoder", *names):
        assert text.count(f" {name} {figures}") == 1
    assert text.count("91.5") == 3
    assert "that of the device's allocator" in html.unescape(text)


def test_the_best_figure_is_marked_and_no_ceiling_is(page):
    assert re.findall(r'class="best">([^<]*)<', page)[:2] == ["22.25", "23.25"]


def paper_table(run, **changes):
    path = run / "views" / "table_1.json"
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(found))
    page = report.write_report(run).read_text()
    (table,) = re.findall(r"<caption>Table I of the paper<.*?</p>", page, re.DOTALL)
    return re.sub(r"\s+", " ", text_of(table))


def test_the_papers_table_one_is_beside_the_runs(run):
    text = paper_table(run)
    for line in (
        "FID needs weights 16.43 needs weights 15.14 needs weights 14.51",
        "LPIPS needs weights 0.074 needs weights 0.056 needs weights 0.048",
        "SSIM 0.531 0.832 0.556 0.884 - 0.912",
        "PSNR, dB 21.25 24.028 22.25 26.776 - 28.491",
        "coherence, % 42.5 85.49 44.5 88.33 - 89.14",
        "of NMR, another data set than these synthetic objects",
        "a classifier trained here, right on 97.8 % of real views",
    ):
        assert line in text
    assert "64 px a side, this run 16" in text


def test_the_papers_own_data_set_is_not_called_another(run):
    assert "another data set" not in paper_table(run, data="nmr")


def test_every_method_is_shown_on_every_set_of_conditioning_views(page):
    _, _, *tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    wanted = {
        "psnr": ("front 21.25 22.25 23.25", "front+&lt;left&gt; 22.25 23.25 24.25"),
        "ssim": ("front 0.531 0.556 0.581", "front+&lt;left&gt; 0.556 0.581 0.606"),
        "coherence": ("front 42.5 44.5 46.5", "front+&lt;left&gt; 44.5 46.5 48.5"),
    }
    for table, rows in zip(tables, wanted.values(), strict=False):
        text = re.sub(r"\s+", " ", text_of(table))
        assert "conditioning views diffusion copy reconstruction (ceiling)" in text
        assert all(row in text for row in rows)
        columns = [
            re.findall("<td.*?</td>", r) for r in re.findall("<tr>.*?</tr>", table)
        ]
        is_best = [["best" in cell for cell in row] for row in columns[1:]]
        assert is_best == 2 * [[False, False, True, False]]


def test_the_sets_of_all_metrics_but_the_first_are_folded_away(page):
    assert re.findall(r"<summary>(.*?by conditioning views)</summary>", page) == [
        "SSIM, by conditioning views",
        "coherence, %, by conditioning views",
    ]
    assert "<caption>PSNR, dB, by conditioning views</caption>" in page
    assert "<caption>SSIM" not in page


def test_the_lowest_distance_of_a_set_is_the_best(run):
    path = run / "views" / "table_1.json"
    found = json.loads(path.read_text())
    for number, row in enumerate(found["rows"]):
        row["metrics"]["lpips"] = 0.5 + number
    path.write_text(json.dumps(found))
    page = report.write_report(run).read_text()
    (table,) = re.findall(r"<summary>LPIPS, by.*?</table>", page, re.DOTALL)
    assert re.findall(r'class="best">([^<]*)<', table) == ["0.500", "2.500"]


@pytest.mark.parametrize(
    "content",
    [
        {"views/table_1.json": {"rows": []}},
        {"views/table_1.json": {"rows": 3}},
        {"views/curve.json": [3]},
        {"phases.json": {"score": {}}},
        {"phases.json": {"score": 3}},
        {"classify/results.json": {"cells": []}},
    ],
    ids=str,
)
def test_a_whole_file_with_other_content_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text('{"experiment": "nmr_dimvida"}')
    ((name, found),) = content.items()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(json.dumps(found))
    with pytest.raises(UserError, match=f"{name} is damaged or of another version"):
        report.write_report(tmp_path)


def test_a_run_without_results_has_a_page_too(tmp_path):
    (tmp_path / "config.json").write_text('{"experiment": "nmr_dimvida"}')
    page = report.write_report(tmp_path).read_text()
    assert "Table I" not in page
    assert "<h1>" in page
