"""Provenance of result files."""

import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from jaxgrow.devices import runtime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """The command, code and device that produced a result.

    Attributes:
        command: The command line, word by word.
        seeds: Name of each seeded part -> its seed.
        device: Kind of device that JAX used.
        wall_s: Duration in seconds, from the caller's clock.
        git_revision: Commit of this code, with "+changes" if edited; None if unknown.
        versions: Package -> version.
    """

    command: list[str]
    seeds: dict[str, int]
    device: str
    wall_s: float
    git_revision: str | None
    versions: dict[str, str]


def record_provenance(
    command: Sequence[str], *, seeds: Mapping[str, int], wall_s: float
) -> Provenance:
    """Record the provenance of this process's results; works without git."""
    return Provenance(
        command=list(command),
        seeds=dict(seeds),
        device=_device(),
        wall_s=wall_s,
        git_revision=git_revision(Path(__file__)),
        versions=runtime.versions(),
    )


def git_revision(file: Path) -> str | None:
    """Return the revision of the repository that tracks `file`; None if there is none.

    An installed copy inside another repository is not tracked by that one.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True
        )
        return ran.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        revision = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{revision}+changes" if changed else revision


def _device() -> str:
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"cpu ({os.cpu_count()} cores)"
    return f"{device.platform} ({device.device_kind})"
