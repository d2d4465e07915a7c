"""The documents name files and imports that exist."""

import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "experiments/README.md")
    ),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "jaxgrow" / "assets").rglob("*.md")),
]
ROOMS = "jaxgrow|experiments|tools|benchmarks|tests|docs"
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")
NAMED = re.compile(rf"`((?:{ROOMS})/[\w./-]*\w\.(?:py|md|png|json))`")
IMPORT = re.compile(r"^ *((?:from|import) jaxgrow\S*.*)$", re.MULTILINE)
COMMAND = re.compile(rf"python -m ((?:{ROOMS})(?:\.\w+)*)")
# The log keeps the names of its time.
OF_TODAY = [path for path in DOCUMENTS if path.name != "performance_log.md"]


def relative(path):
    return path.relative_to(ROOT).as_posix()


def test_a_newcomer_reads_the_readme_in_one_sitting():
    assert len((ROOT / "README.md").read_text().split()) <= 1_200


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_to_files_and_headings(document):
    for target, heading in LINK.findall(document.read_text()):
        file = (document.parent / target).resolve()
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", h.lower()) for h in headings}
            assert heading[1:] in {a.replace(" ", "-") for a in anchors}, heading


@pytest.mark.parametrize("document", OF_TODAY, ids=relative)
def test_files_that_a_document_names_exist(document):
    for name in NAMED.findall(document.read_text()):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("document", OF_TODAY, ids=relative)
def test_imports_that_a_document_shows_work(document):
    for line in IMPORT.findall(document.read_text()):
        exec(line, {})


@pytest.mark.parametrize("document", OF_TODAY, ids=relative)
def test_commands_that_a_document_shows_exist(document):
    for module in COMMAND.findall(document.read_text()):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
