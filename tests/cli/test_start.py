import dataclasses
import io
from pathlib import Path

from jaxgrow.cli.start import expand_home, print_any_name


@dataclasses.dataclass(frozen=True)
class Inner:
    path: Path | None = None
    steps: int = 3


@dataclasses.dataclass(frozen=True)
class Outer:
    out: Path
    more: tuple[Path, ...] = ()
    inner: Inner = Inner()
    text: str = "~/text"


def test_the_home_folder_is_expanded_in_paths_and_nowhere_else(monkeypatch):
    monkeypatch.setenv("HOME", "/folder/of/ada")
    given = Outer(Path("~/o"), (Path("~"), Path("a~/b")), Inner(Path("~/x")))
    home = Path("/folder/of/ada")
    expected = Outer(home / "o", (home, Path("a~/b")), Inner(home / "x"))
    assert expand_home(given) == expected
    plain = Outer(Path("o"))
    assert expand_home(plain) is plain


def test_names_that_are_not_utf8_are_printed(monkeypatch):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="utf-8", errors="strict")
    monkeypatch.setattr("sys.stdout", stream)
    print_any_name()
    print(b"stra\xdfe".decode(errors="surrogateescape"), file=stream, flush=True)
    assert written.getvalue() == b"stra\\udcdfe\n"
