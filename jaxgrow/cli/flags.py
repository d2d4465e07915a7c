"""Names of config fields in messages, spelled as flags."""

import dataclasses
import re
import typing
from collections.abc import Iterator


_NAME = re.compile(
    r"(?<![\w./-])(?P<name>[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)(?![\w/-]|\.\w)"
)
# Behind these a single common word, such as `path`, stands for a field.
_VERB = re.compile(
    r"\b(?:set|pass|give|add|leave|change|lower|raise|halve) $", re.IGNORECASE
)


def spell_flags(message: str, config: type) -> str:
    """Return `message` with the names of `config`'s fields as the flags that set them.

    A name is dotted (`growth.steps`) or bare (`batch_size`); a nested field's bare name
    counts if no other field has it. Single words without a dot or an underscore are
    common English, and count only behind a verb such as "set".
    """
    fields = list(_field_names(config))

    def spell(match: re.Match[str]) -> str:
        name = match["name"]
        is_plain = "." in name or "_" in name
        if not is_plain and not _VERB.search(message[: match.start()]):
            return name
        found = [field for field in fields if field == name]
        found = found or [field for field in fields if field.endswith(f".{name}")]
        return flag(found[0]) if len(found) == 1 else name

    return _NAME.sub(spell, message)


def flag(field: str) -> str:
    """Return the flag of a field's dotted name: `growth.steps` is `--growth.steps`."""
    return f"--{field.replace('_', '-')}"


def _field_names(config: type) -> Iterator[str]:
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            yield from (f"{field.name}.{name}" for name in _field_names(kind))
        else:
            yield field.name
