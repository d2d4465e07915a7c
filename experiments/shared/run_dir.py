"""A run's directory: the experiment and the config that it belongs to."""

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

import jax

from jaxgrow.devices import hosts, runtime
from jaxgrow.errors import UserError
from jaxgrow.storage import configs, files


Config = TypeVar("Config")


def claim(run_dir: Path, experiment: str, config: Any) -> None:
    """Make the run directory, or refuse one that belongs to something else."""
    if hosts.is_first():
        _claim(run_dir, experiment, config)
    hosts.wait()


def _claim(run_dir: Path, experiment: str, config: Any) -> None:
    path = run_dir / "config.json"
    # A kill may have left a hidden temporary file, which belongs to nobody.
    there = run_dir.is_dir() and any(p.name[0] != "." for p in run_dir.iterdir())
    if not there:
        describe(run_dir, experiment, config)
        return
    try:
        saved = json.loads(path.read_text())
        owner = saved.get("experiment") if isinstance(saved, dict) else None
    except (OSError, ValueError):
        owner = None
    if owner != experiment:
        held = "other files" if owner is None else f"a run of {owner}"
        raise UserError(
            f"{run_dir} holds {held} and no run of {experiment}: pass another "
            "--run-dir."
        )


def describe(run_dir: Path, experiment: str, config: Any) -> None:
    """Write config.json and versions.json."""
    if not hosts.is_first():
        return
    described = {"experiment": experiment, "config": config}
    files.write_json(run_dir / "config.json", described)
    versions = {
        **runtime.versions(),
        "device": jax.devices()[0].device_kind,
        "command": command(experiment),
    }
    files.write_json(run_dir / "versions.json", versions)


def read_config(run_dir: Path, experiment: str, kind: type[Config]) -> Config:
    """Return the config that a run was started with.

    Raises:
        UserError: If the folder is no run of this experiment and version.
    """
    try:
        saved = json.loads((run_dir / "config.json").read_text())
        if saved["experiment"] != experiment:
            raise ValueError(f"it is one of {saved['experiment']}")
        return configs.from_plain(kind, saved["config"])
    except FileNotFoundError:
        reason = "it has no config.json" if run_dir.is_dir() else "no such folder"
    except KeyError as error:
        reason = f"its config.json has no {error}"
    except (OSError, TypeError, ValueError) as error:
        reason = str(error)
    raise UserError(
        f"{run_dir} is no run of {experiment} of this version ({reason}): name the "
        "--run-dir of one."
    )


def command(experiment: str) -> list[str]:
    """Return the command line that this process was started with."""
    return ["python", "-m", f"experiments.{experiment}", *sys.argv[1:]]
