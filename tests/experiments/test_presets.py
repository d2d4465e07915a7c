"""What every preset changes, and how the command lines show and take them."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.nmr_dimvida.__main__ import main as dimvida_main
from experiments.nmr_dimvida.presets import PRESETS as DIMVIDA
from experiments.places_grow.__main__ import main as places_main
from experiments.places_grow.presets import PRESETS as PLACES
from experiments.shared.presets import derive, differences
from jaxgrow.storage import files


PINNED = Path(__file__).parents[1] / "goldens" / "presets.txt"
SYSTEMS = {"places_grow": (PLACES, places_main), "nmr_dimvida": (DIMVIDA, dimvida_main)}
EVERY = [(system, name) for system in SYSTEMS for name in SYSTEMS[system][0]]
# The preset that another is told from; paper is told from the defaults.
BASES = {"better": "paper", "demo": "better", "smoke": "demo", "mnist": "demo"}


def changes(system, name):
    """What a preset changes against its base, as JSON has it."""
    presets, _ = SYSTEMS[system]
    config = presets[name][1]
    base = type(config)(run_dir=config.run_dir)
    if name != "paper":
        found = BASES.get(name, "paper")
        base = presets[found if found in presets else "paper"][1]
    return files.plain(differences(config, base))


def test_presets_change_what_is_pinned():
    # To pin anew, write what this prints into the file.
    now = "\n".join(
        line
        for system, name in EVERY
        for line in (
            f"{system} {name}",
            *(f"  {f} = {json.dumps(v)}" for f, v in changes(system, name).items()),
        )
    )
    print(now)
    assert now == PINNED.read_text().strip()


@pytest.mark.parametrize(("system", "name"), EVERY)
def test_differences_make_a_preset_out_of_another(system, name):
    presets, _ = SYSTEMS[system]
    config, paper = presets[name][1], presets["paper"][1]
    assert derive(paper, differences(config, paper)) == config


def test_a_derived_config_keeps_the_fields_beside_those_that_change():
    _, paper = PLACES["paper"]
    changed = derive(paper, {"net.width": 5, "seed": 2})
    assert changed.net == dataclasses.replace(paper.net, width=5)
    assert (changed.seed, changed.losses) == (2, paper.losses)


def said_by(system, capsys, *arguments):
    """Exit status and output of a command line that does not train."""
    try:
        status = SYSTEMS[system][1](list(arguments))
    except SystemExit as exiting:
        status = exiting.code
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize(("system", "name"), EVERY)
def test_the_help_of_a_preset_fits_on_a_screen(system, name, capsys):
    status, out, _ = said_by(system, capsys, name, "--help")
    assert status == 0
    lines = out.splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 100
    assert "--run-dir" in out
    assert "--data.path" in out


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_help_of_a_program_lists_its_presets(system, capsys):
    status, out, _ = said_by(system, capsys, "--help")
    assert status == 0
    assert len(out.splitlines()) <= 30
    assert all(f"  {name} " in out for name in SYSTEMS[system][0])


@pytest.mark.parametrize("system", SYSTEMS)
def test_paper_refuses_to_start_without_real_data(
    system, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    status, _, err = said_by(system, capsys, "paper")
    assert status == 2
    assert "is not there: name yours by --data.source and --data.path" in err
    assert list(tmp_path.iterdir()) == []
