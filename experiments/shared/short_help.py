"""Help that fits on a screen: what a preset changes, and the fields people set."""

import textwrap
from collections.abc import Mapping
from typing import Any

from experiments.shared.presets import differences, values
from jaxgrow.cli.flags import flag


_WIDTH = 100


def of_program(
    program: str,
    about: str | None,
    presets: Mapping[str, tuple[str, Any]],
    commands: Mapping[str, str | None],
) -> str:
    """Return the help of a program: its presets and commands."""
    listed = {name: text for name, (text, _) in presets.items()}
    return "\n".join(
        [
            f"usage: {program} PRESET [--field VALUE ...]",
            "",
            (about or "").strip(),
            *("", "presets:", *_columns(listed)),
            *(["", "commands:", *_columns(commands)] if commands else []),
        ]
    )


def of_preset(
    program: str, about: str, config: Any, base: Any, shown: Mapping[str, str]
) -> str:
    """Return the short help of a preset: its changes from `base`, and some fields.

    None as `base` means the defaults. `shown` has dotted names of fields -> help.
    """
    against = "paper" if base is not None else "the defaults"
    base = type(config)(run_dir=config.run_dir) if base is None else base
    now = dict(values(config))
    fields = {f"{flag(name)} {_text(now[name])}": text for name, text in shown.items()}
    return "\n".join(
        [
            f"usage: {program} [--field VALUE ...]",
            "",
            about,
            *("", f"differs from {against} in:", *_changes(config, base)),
            *("", "fields people set, with their values here:", *_columns(fields)),
            *("", "--help-all lists every field."),
        ]
    )


def _changes(config: Any, base: Any) -> list[str]:
    """Return a paragraph per nested config that differs."""
    groups: dict[str, list[str]] = {}
    for name, value in differences(config, base).items():
        group, _, field = name.rpartition(".")
        if name != "run_dir":
            groups.setdefault(group, []).append(f"{field} {_text(value)}")
    lines = []
    for group, fields in groups.items():
        text = (f"{group}: " if group else "") + ", ".join(fields)
        lines += textwrap.TextWrapper(_WIDTH, "  ", "      ").wrap(text)
    return lines or ["  nothing"]


def _columns(texts: Mapping[str, str | None]) -> list[str]:
    """Return names and texts side by side; a long name has a line of its own."""
    width = min(max(map(len, texts)), 40)
    lines = []
    for name, text in texts.items():
        first, *more = textwrap.wrap(text or "", _WIDTH - width - 4)
        if len(name) > width:
            lines.append(f"  {name}")
            name = ""
        lines.append(f"  {name:{width}}  {first}")
        lines += [f"  {'':{width}}  {line}" for line in more]
    return lines


def _text(value: Any) -> str:
    """Return a value as it is typed on the command line."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) if value else "()"
    return str(value)
