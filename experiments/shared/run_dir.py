"""A run's directory: the experiment, the process and the config that it belongs to."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax

from experiments.shared import presets
from jaxgrow.devices import hosts, runtime
from jaxgrow.errors import UserError
from jaxgrow.storage import configs, files, lock


Config = TypeVar("Config")
_WEIGHTS_DIR = Path("weights")  # the default, which need not be there


@contextlib.contextmanager
def claimed(run_dir: Path, experiment: str) -> Iterator[None]:
    """Hold the run directory inside the `with` block; write nothing else into it.

    Of several processes that train one run, the first one holds it.

    Raises:
        UserError: It belongs to something else, or another process is writing into it.
    """
    with contextlib.ExitStack() as stack:
        if hosts.is_first():
            _check_owner(run_dir, experiment)
            stack.enter_context(lock.held(run_dir, command(experiment)))
        hosts.wait()
        yield


def _check_owner(run_dir: Path, experiment: str) -> None:
    path = run_dir / "config.json"
    # A kill may have left a hidden file, which belongs to nobody.
    with files.disk_errors(run_dir, "read"):
        there = run_dir.is_dir() and any(p.name[0] != "." for p in run_dir.iterdir())
        if not there:
            return
    try:
        owner = files.read_json(path, dict).get("experiment")
    except FileNotFoundError:
        owner = None
    if owner != experiment:
        held = "other files" if owner is None else f"a run of {owner}"
        raise UserError(
            f"{run_dir} holds {held} and no run of {experiment}: pass another "
            "--run-dir."
        )


def describe(run_dir: Path, experiment: str, config: Any) -> None:
    """Write config.json and versions.json, once the whole command is accepted.

    Paths of the data are written in full, so that they hold in every folder.
    """
    if not hosts.is_first():
        return
    paths = {
        name: value.absolute()
        for name, value in presets.values(config)
        if isinstance(value, Path) and name.startswith(("data.", "masks."))
    }
    config = presets.derive(config, paths)
    described = {"experiment": experiment, "config": config}
    files.write_json(run_dir / "config.json", described)
    versions = {
        **runtime.versions(),
        "device": jax.devices()[0].device_kind,
        "command": command(experiment),
    }
    files.write_json(run_dir / "versions.json", versions)


def check_weights_dir(folder: Path) -> None:
    """Refuse a folder of pretrained networks that the user names and that is absent."""
    if folder != _WEIGHTS_DIR and not folder.is_dir():
        raise UserError(
            f"there is no folder {folder} of pretrained networks: name one that is "
            "there, or leave weights_dir out."
        )


def read_config(run_dir: Path, experiment: str, kind: type[Config]) -> Config:
    """Return the config that a run was started with.

    Raises:
        UserError: If the folder is no run of this experiment and version.
    """
    path = run_dir / "config.json"
    try:
        saved = files.read_json(path, dict)
    except FileNotFoundError:
        reason = "it has no config.json" if run_dir.is_dir() else "no such folder"
        raise UserError(
            f"{run_dir} is no run of {experiment} ({reason}): name the --run-dir of "
            "one."
        ) from None
    if saved.get("experiment", experiment) != experiment:
        raise UserError(
            f"{run_dir} holds a run of {saved['experiment']} and no run of "
            f"{experiment}: name the --run-dir of one."
        )
    with files.reading(path):
        return configs.from_plain(kind, saved["config"])


def command(experiment: str) -> list[str]:
    """Return the command line that this process was started with."""
    return ["python", "-m", f"experiments.{experiment}", *sys.argv[1:]]
