"""Bad inputs drawn at random: each gives a result, or one sentence and nothing else.

`JAXGROW_FUZZ_SEED` draws others, `JAXGROW_FUZZ_DRAWS` as many as it says.
"""

import contextlib
import io
import json
import os
import shutil
import tarfile
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.nmr_dimvida import __main__ as dimvida
from experiments.places_grow import __main__ as places_grow
from experiments.shared.presets import values
from jaxgrow.cli.flags import flag
from jaxgrow.cli.start import print_any_name
from jaxgrow.data import sources
from jaxgrow.data.views import ViewDataConfig, open_partitions
from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers
from jaxgrow.inpainting import saved_models as generators
from jaxgrow.inpainting.inpainter import Inpainter
from jaxgrow.metrics import frechet, inception_distance
from jaxgrow.metrics.lpips import Lpips
from jaxgrow.multiview import saved_models
from jaxgrow.multiview.augmenter import ViewAugmenter
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from tests.support import places, small_views
from tests.support.bad_inputs import (
    SIZE,
    damaged,
    damaged_json,
    encoded,
    odd_array,
    pick,
)
from tests.support.generators import random_generator, write_generator
from tests.support.nmr_archive import write_nmr, zip_folder
from tools import evaluate_images, inpaint


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
]
SEED = int(os.environ.get("JAXGROW_FUZZ_SEED", "0"))
DRAWS = int(os.environ.get("JAXGROW_FUZZ_DRAWS", "40"))


@pytest.fixture
def rng(request):
    return np.random.default_rng([SEED, sum(request.node.name.encode())])


WORDS = (
    "nan",
    "inf",
    "-inf",
    "0",
    "-1",
    "1",
    "1e9",
    "1000000000",
    "99999999999999999999",
    "1e-300",
    "0.5",
    "",
    "None",
    "x",
    "True",
    "/dev/null",
    "/",
    "a\udcff",
    "~",
    ".",
)


# Outcomes.


def said_of(capsys, main, *line) -> tuple[int, str]:
    """The status of a command and what it says; no traceback, at most one error."""
    capsys.readouterr()
    try:
        status = main([str(word) for word in line])
    except SystemExit as exiting:  # of tyro's parser
        status = exiting.code
    out, err = capsys.readouterr()
    errors = [text for text in err.splitlines() if text.startswith("error: ")]
    assert "Traceback" not in err
    assert len(errors) == (status == 2 and "╭" not in err), (status, err)
    return status, out + err


def result_of(call, *args, **options):
    """The result, or None if it is refused in a sentence."""
    found, sentence = None, ""
    try:
        found = call(*args, **options)
    except UserError as error:
        sentence = str(error)
    assert "\n" not in sentence
    return found


# Pictures and masks.


@pytest.mark.parametrize("family", ["images", "masks"])
def test_damaged_pictures_and_masks_are_filled_or_skipped(
    family, rng, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "w" / generators.file_name(4)
    write_generator(weights, 4)
    for folder in ("images", "masks"):
        Path(folder).mkdir()
    for i in range(DRAWS):
        good = encoded(rng, mask=family == "masks")
        ending = pick(rng, ["png", "jpg", "tif", "webp", "gif", "bmp"])
        Path(family, f"{i}.{ending}").write_bytes(damaged(rng, good))
        if family == "images":
            Image.fromarray(places_hole()).save(f"masks/{i}.png")
        else:
            Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3)).astype("u1")).save(
                f"images/{i}.png"
            )
    before = places.content_of(tmp_path)
    line = [
        "--images",
        "images",
        "--masks",
        "masks",
        "--out",
        "out",
        "--weights",
        weights,
    ]
    status, said = said_of(capsys, inpaint.main, *line)
    written = {path.stem for path in Path("out").iterdir()}
    assert status == (0 if len(written) == DRAWS else 1)
    for i in range(DRAWS):
        assert (str(i) in written) != (f"/{i}." in "".join(skips(said)))
    after = places.content_of(tmp_path)
    assert {k: v for k, v in after.items() if not k.startswith("out/")} == before


def skips(said):
    return [text for text in said.splitlines() if text.startswith("skipped: ")]


def places_hole():
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[4:12, 4:12] = 255
    return mask


# Arrays.


def test_arrays_of_any_kind_are_taken_or_refused(rng):
    inpainter = Inpainter(random_generator(4))
    nets = small_views.saved_autoencoder(), small_views.latent_model()
    views = ViewGenerator(*nets, batch_size=4)
    augmenter = ViewAugmenter(views)
    sampler = SamplerConfig(name="dpm++", num_steps=2, grid="log_snr")
    lpips = Lpips(lambda x: [x], [jnp.ones(3)])
    side = small_views.SIDE
    for _ in range(DRAWS // 2):
        batch = rng.integers(0, 256, (2, side, side, 3)).astype(np.uint8)
        hole = np.zeros((2, side, side), bool)
        hole[:, 2:6, 2:6] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            result_of(inpainter, odd_array(rng, batch), odd_array(rng, hole))
        options = {"num_samples": 1, "seed": 0, "conditioning": 0}
        if rng.random() < 0.4:  # other types are refused by the tests' type checks
            options[pick(rng, list(options))] = pick(rng, (-1, 0, 3, 4, 2**32, 10**30))
        found = result_of(augmenter, odd_array(rng, batch), sampler=sampler, **options)
        assert found is None or found.dtype == np.uint8
        all_views = rng.integers(0, 256, (2, 4, side, side, 3)).astype(np.uint8)
        missing = np.array([[False, True, True, True]] * 2)
        result_of(
            views.generate_views,
            odd_array(rng, all_views),
            odd_array(rng, missing),
            sampler=sampler,
        )
        result_of(inception_distance.resize_one, odd_array(rng, batch[0]))
        signed = np.float32(batch / 127.5 - 1)
        result_of(lpips, odd_array(rng, signed), odd_array(rng, signed))
        found = result_of(
            frechet.stats_of_images, lambda x: x[:, 0, 0] / 255.0, odd_array(rng, batch)
        )
        if found is not None:
            result_of(frechet.frechet_distance, found, found)


# Files of weights.


def test_damaged_weights_are_loaded_or_refused(rng, tmp_path):
    write_generator(tmp_path / "g.safetensors", 4)
    saved_models.save_autoencoder(
        tmp_path / "a.safetensors", small_views.saved_autoencoder(), {}
    )
    saved_models.save_latent_model(
        tmp_path / "s.safetensors", "score", small_views.latent_model()
    )
    classifiers.save_classifier(
        tmp_path / "c.safetensors", small_views.coherence_classifier(), {}
    )
    loaders = {
        "g": Inpainter.load,
        "a": saved_models.load_autoencoder,
        "s": lambda path: saved_models.load_latent_model(path, "score"),
        "c": classifiers.load_classifier,
    }
    for _ in range(3 * DRAWS):
        name = pick(rng, list(loaders))
        content = (tmp_path / f"{name}.safetensors").read_bytes()
        if rng.random() < 0.6:
            size = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + size])
            meta = header.get("__metadata__", {})
            inner = {k: v for k, v in meta.items() if v.startswith("{")}
            if inner and rng.random() < 0.8:
                key = pick(rng, list(inner))
                meta[key] = damaged_json(rng, meta[key].encode()).decode("latin-1")
                head = json.dumps(header).encode()
            else:
                head = damaged_json(rng, json.dumps(header).encode())
            content = len(head).to_bytes(8, "little") + head + content[8 + size :]
        else:
            content = damaged(rng, content)
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        result_of(loaders[name], path)


# Archives.


def test_damaged_archives_are_read_or_refused(rng, tmp_path):
    pictures = places.write_pictures(tmp_path / "pictures", 4)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.add(pictures, "pictures")
    nmr = write_nmr(tmp_path / "nmr")
    zipped = zip_folder(nmr, tmp_path / "nmr.zip").read_bytes()
    softras = tmp_path / "softras"
    softras.mkdir()
    renders = np.zeros((3, 24, 4, 64, 64), np.uint8)
    arrays = io.BytesIO()
    np.savez(arrays, renders)
    idx = (
        bytes([0, 0, 8, 3])
        + b"".join(n.to_bytes(4, "big") for n in (3, 8, 8))
        + bytes(192)
    )
    for i in range(DRAWS):
        out = tmp_path / f"x{i}"
        out.mkdir()
        kind = pick(rng, ["tar", "zip", "npz", "idx"])
        if kind == "tar":
            (out / "x.tar").write_bytes(damaged(rng, plain.getvalue()))
            config = sources.DataConfig(
                source="folder", path=out / "x.tar", cache_dir=out / "cache"
            )
            split = result_of(sources.open_split, config, 0)
            for source in split or ():
                for k in range(len(source)):
                    result_of(source.__getitem__, k)
        elif kind == "idx":
            for part in ("train", "t10k"):
                (out / f"{part}-images-idx3-ubyte").write_bytes(damaged(rng, idx))
            config = sources.DataConfig(source="idx", path=out, cache_dir=out / "cache")
            result_of(sources.open_split, config, 0)
        else:
            if kind == "zip":
                path = out / "x.zip"
                path.write_bytes(damaged(rng, zipped))
            else:
                path = out
                for part in ("train", "test"):
                    content = damaged(rng, arrays.getvalue())
                    (out / f"02691156_{part}_images.npz").write_bytes(content)
            source = "nmr" if kind == "zip" else "softras"
            options = {"path": path, "cache_dir": out / "cache", "size": 64}
            result_of(open_partitions, ViewDataConfig(source=source, **options), 0)
        shutil.rmtree(out)


# Run directories.


def test_damaged_runs_are_told_in_a_sentence(rng, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = places.write_pictures(tmp_path / "pictures")
    run = tmp_path / "run"
    line = [*places.ONE_STAGE, "--data.path", pictures, "--run-dir", run]
    assert said_of(capsys, places_grow.main, *line)[0] == 0
    names = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
    small = [name for name in names if name.suffix in (".json", ".jsonl")]
    pictures_before = places.content_of(pictures)
    for i in range(max(DRAWS // 4, 1)):
        copy = shutil.copytree(run, tmp_path / f"copy{i}")
        name = pick(rng, small if rng.random() < 0.7 else names)
        content = (copy / name).read_bytes()
        damage = damaged_json if name.suffix == ".json" else damaged
        (copy / name).write_bytes(damage(rng, content))
        if rng.random() < 0.2:
            (copy / pick(rng, names)).unlink(missing_ok=True)
        again = [*line[:-1], copy]
        command = pick(rng, [again, ["evaluate", "--run", copy, "--unet-steps", "0"]])
        said_of(capsys, places_grow.main, *command)
        shutil.rmtree(copy)
    assert places.content_of(pictures) == pictures_before


# Metrics.


def test_folders_of_damaged_pictures_are_measured_or_refused(
    rng, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for i in range(max(DRAWS // 2, 1)):
        for folder in ("real", "fake", "masks"):
            shutil.rmtree(folder, ignore_errors=True)
            Path(folder).mkdir()
            for k in range(2):
                content = encoded(rng, mask=folder == "masks")
                if rng.random() < 0.3:
                    content = damaged(rng, content)
                Path(folder, f"{k}.png").write_bytes(content)
        before = places.content_of(tmp_path)
        masks = ["--masks", "masks"] if rng.random() < 0.5 else []
        line = ["--real", "real", "--fake", "fake", *masks, "--out", f"out/{i}.json"]
        status, _ = said_of(capsys, evaluate_images.main, *line)
        assert (status == 0) == Path(f"out/{i}.json").exists()
        shutil.rmtree("out", ignore_errors=True)
        assert places.content_of(tmp_path) == before


# Configs.


@pytest.mark.parametrize("program", [places_grow, dimvida])
def test_any_value_of_any_field_is_a_config_or_a_sentence(
    program, rng, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    print_any_name()
    fields = [name for name, _ in values(program.parse(["smoke"]))]
    for name in fields:
        with contextlib.suppress(SystemExit):  # of tyro's parser
            result_of(program.parse, ["smoke", flag(name), pick(rng, WORDS)])
    assert not list(tmp_path.iterdir())


EXTREMES = ("0", "-1", "1", "3", "1000000000", "1e-30", "1e30", "0.999")


def test_runs_with_extreme_settings_end_or_say_why(rng, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = places.write_pictures(tmp_path / "pictures")
    line = [*places.ONE_STAGE, "--data.path", pictures]
    config = places_grow.parse(
        [str(word) for word in ["smoke", "--data.path", pictures]]
    )
    numbers = [
        n
        for n, v in values(config)
        if isinstance(v, int | float) and not isinstance(v, bool)
    ]
    endless = {"growth.steps", "hosts.num_processes", "net.width", "net.num_sub_blocks"}
    for i in range(max(DRAWS // 6, 1)):
        name = pick(rng, sorted({*numbers} - endless))
        said_of(
            capsys,
            places_grow.main,
            *line,
            "--run-dir",
            tmp_path / f"run{i}",
            flag(name),
            pick(rng, EXTREMES),
        )
