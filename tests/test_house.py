"""Rules of the house that no linter checks."""

import ast
import collections
import functools
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


ROOT = Path(__file__).parents[1]
FOLDERS = ["jaxgrow", "experiments", "tools", "benchmarks", "tests", "docs", ".ci"]
TEXT_SUFFIXES = {"", ".py", ".md", ".toml", ".txt", ".yaml", ".jinja", ".json"}
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""

QUESTIONS = re.compile(r"(What|Whether|Where|Which|How)\b")
FLAG = re.compile(r"(^|\s)--[a-z]")
# Files of the package whose strings may spell flags, and why.
SPELLS_FLAGS = {
    "jaxgrow/data/array_sources.py": "the command that prepares a TFDS data set",
    "jaxgrow/evaluation/figures.py": "the command that exports weights",
    "jaxgrow/storage/provenance.py": "options of git",
}

SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


@pytest.fixture(scope="module")
def held():
    """{package: names of the top-level modules of an interpreter that imports it}."""
    packages = ["jaxgrow.data", "jaxgrow"]
    command = [sys.executable, "-c", IMPORT_ALL, *packages]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    names = [set(line.split()) for line in ran.stdout.splitlines()]
    return dict(zip(packages, names, strict=True))


@functools.cache
def nodes_of(path):
    """All nodes of the file at `path`, its module first."""
    return list(ast.walk(ast.parse(path.read_text())))


def imported_modules(path):
    """Full names of the modules that the file at `path` imports, wherever it does."""
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(python_version):
    """{name: version} of the constraints that hold for `python_version` on Linux."""
    environment = {"python_full_version": python_version, "sys_platform": "linux"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith("#")]
    found = {}
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", requirement
            assert requirement.name not in found, requirement
            found[requirement.name] = specifier.version
    return found


@pytest.mark.parametrize("python_version", ["3.11.7", "3.12.0", "3.14.0"])
def test_every_dependency_is_pinned_within_its_bounds(python_version):
    pinned = pins(python_version)
    extras = project()["optional-dependencies"]
    wanted = project()["dependencies"] + extras["eval"] + extras["data"] + extras["dev"]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name != "jaxgrow":
            assert requirement.specifier, f"{name} has no lower bound"
            assert requirement.specifier.contains(pinned[name]), requirement


def test_this_environment_is_one_that_the_bounds_allow():
    from importlib.metadata import version

    for requirement in map(Requirement, project()["dependencies"]):
        assert requirement.specifier.contains(version(requirement.name)), requirement


def test_constraints_name_no_address():
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|@|index-url|find-links", text)


def test_the_package_imports_what_belongs_to_an_extra_only_when_it_is_used(held):
    assert "jax" in held["jaxgrow"]
    late = {"torch", "torchvision", "timm", "tensorflow", "tensorflow_datasets"}
    late |= {"cv2", "skimage", "sklearn", "matplotlib", "tyro"}
    assert not held["jaxgrow"] & late


def test_data_is_read_without_jax(held):
    assert not held["jaxgrow.data"] & {"jax", "flax", "optax", "orbax"}


def test_linen_stays_in_nets():
    strangers = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if path.is_relative_to(ROOT / "jaxgrow")
        and path.relative_to(ROOT).parts[1] != "nets"
        and any(name.startswith("flax.linen") for name in imported_modules(path))
    ]
    assert not strangers


def package_files(*folders):
    """{path relative to the root: nodes of the file} of these folders."""
    return {
        path.relative_to(ROOT).as_posix(): nodes_of(path)
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] in folders
    }


def docstrings(nodes):
    """String statements of modules, classes and functions: theirs and their fields'."""
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            values = [line.value for line in node.body if isinstance(line, ast.Expr)]
            constants = [v for v in values if isinstance(v, ast.Constant)]
            yield from (c for c in constants if isinstance(c.value, str))


def test_docstrings_say_what_a_thing_is_or_does():
    files = package_files("jaxgrow", "experiments", "tools", "benchmarks")
    found = [
        f"{path}:{node.lineno}"
        for path, nodes in files.items()
        for node in docstrings(nodes)
        if QUESTIONS.match(node.value.strip())
    ]
    assert not found


def public_names(module):
    """Names that a module defines at its top level, without a leading underscore."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [t.id for t in targets if isinstance(t, ast.Name)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def test_a_public_name_is_defined_once_in_the_package():
    places = collections.defaultdict(list)
    for path, (module, *_) in package_files("jaxgrow").items():
        for name in public_names(module):
            places[name].append(path)
    assert not {name: where for name, where in places.items() if len(set(where)) > 1}


def test_errors_of_the_package_name_fields_and_not_flags():
    found = []
    for path, nodes in package_files("jaxgrow").items():
        texts = {id(node) for node in docstrings(nodes)}
        found += [
            f"{path}:{node.lineno} {node.value}"
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in texts and FLAG.search(node.value)
            if path not in SPELLS_FLAGS
        ]
    assert not found


def test_the_names_a_user_starts_from_are_imported_on_first_use():
    import jaxgrow
    from jaxgrow.inpainting.inpainter import Inpainter
    from jaxgrow.multiview.augmenter import ViewAugmenter
    from jaxgrow.multiview.generator import ViewGenerator

    assert jaxgrow.Inpainter is Inpainter
    assert jaxgrow.ViewAugmenter is ViewAugmenter
    assert jaxgrow.ViewGenerator is ViewGenerator
    assert {"Inpainter", "ViewAugmenter", "ViewGenerator"} <= set(dir(jaxgrow))
    with pytest.raises(AttributeError, match="has no attribute 'Painter'"):
        jaxgrow.Painter  # noqa: B018


def test_a_file_can_be_read_in_one_sitting():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in SOURCES
    }
    assert not {path: length for path, length in lengths.items() if length > 400}


def test_no_file_names_a_folder_of_one_machine():
    home = re.compile(r"/(?:root|work|home/\w+|Users/\w+)/")
    texts = itertools.chain(
        # In a worktree .git is a file with the path of the repository.
        (path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"),
        *((ROOT / folder).rglob("*") for folder in FOLDERS),
    )
    found = {
        path.relative_to(ROOT).as_posix(): match.group()
        for path in texts
        if path.is_file() and path.suffix in TEXT_SUFFIXES
        if (match := home.search(path.read_text()))
    }
    assert not found


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_only_targets_that_the_makefile_has(document):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = (ROOT / document).read_text()
    named = re.findall(r"(?:`|^ *|\$ )make ([a-z]+)", text, re.MULTILINE)
    assert named
    assert set(named) <= set(targets)
