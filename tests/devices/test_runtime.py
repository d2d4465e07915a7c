"""Settings of the machine: flags only for who knows them, programs kept on disk."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgrow.devices import backend, runtime
from jaxgrow.errors import UserError


CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
PROGRAM = """
import sys, warnings
from pathlib import Path
import numpy as np
from jaxgrow.devices import runtime
runtime.configure()
runtime.keep_compiled(Path(sys.argv[1]))
import jax
hits = []
jax.monitoring.register_event_listener(
    lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None
)
x = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
y = jax.jit(lambda x: jax.numpy.linalg.norm(jax.numpy.tanh(x @ x) @ x.T))(x)
print(len(hits), float(y).hex())
"""


def configured(monkeypatch, flags="", onednn=False, **versions):
    """XLA_FLAGS after `configure` with these packages."""

    def version(name):
        if (found := versions.get(name)) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setenv("XLA_FLAGS", flags)
    runtime.configure(onednn=onednn)
    return os.environ["XLA_FLAGS"].split()


@pytest.mark.parametrize(
    ("jaxlib", "expected"),
    [
        ("0.9.2", []),
        ("0.10.0", [CPU_FLAG]),
        ("0.10.2", [CPU_FLAG]),
        ("0.11.2", [CPU_FLAG]),
        ("0.12.0.1", []),
    ],
)
def test_a_version_gets_only_flags_that_it_knows(jaxlib, expected, monkeypatch):
    assert configured(monkeypatch, jaxlib=jaxlib) == expected


def test_the_users_own_flags_are_kept(monkeypatch):
    mine = ["--xla_gpu_enable_command_buffer=", f"{CPU_FLAG.partition('=')[0]}="]
    assert configured(monkeypatch, " ".join(mine), jaxlib="0.10.2") == mine


@pytest.mark.parametrize(
    ("system", "machine", "jaxlib", "is_chosen"),
    [
        ("Linux", "x86_64", "0.11.2", True),
        ("Linux", "x86_64", "0.11.1", False),
        ("Linux", "aarch64", "0.11.2", False),
        ("Darwin", "x86_64", "0.11.2", False),
    ],
)
def test_onednn_convolves_on_tested_machines_unless_the_user_wants_programs_kept(
    system, machine, jaxlib, is_chosen, monkeypatch
):
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(backend, "_ONEDNN", False)
    for name in (runtime.ONEDNN_SWITCH, "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    configured(monkeypatch, jaxlib=jaxlib, onednn=True)
    assert backend.uses_onednn() == is_chosen
    configured(monkeypatch, jaxlib=jaxlib, onednn=False)
    assert not backend.uses_onednn()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "somewhere")
    configured(monkeypatch, jaxlib=jaxlib, onednn=True)
    assert not backend.uses_onednn()


def run(folder: Path, **env: str) -> tuple[list[str], str]:
    """What the program says, and its warnings."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith("JAX_")}
    clean["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        env=clean | env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split(), done.stderr


@pytest.mark.slow
def test_a_second_process_finds_the_program_again_and_computes_the_same_bits(tmp_path):
    folder = tmp_path / "compiled"
    (hits, value), said = run(folder)
    assert hits == "0"
    assert "arning" not in said
    entries = [path for path in folder.iterdir() if path.name.endswith("-cache")]
    assert entries
    (hits, again), said = run(folder)
    assert int(hits) > 0
    assert again == value
    assert "arning" not in said
    for path in entries:
        path.write_bytes(path.read_bytes()[:100])
    (hits, again), said = run(folder)
    assert (hits, again) == ("0", value)
    assert "Error reading persistent compilation cache" in said


@pytest.mark.slow
def test_what_cannot_be_kept_costs_a_warning(tmp_path):
    (tmp_path / "file").touch()
    (hits, _), said = run(tmp_path / "file" / "compiled")
    assert hits == "0"
    assert "compiled programs are not kept" in said


def test_without_a_home_programs_are_not_kept_and_how_to_mend_it_is_said(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("jax.config", Settings())
    with pytest.warns(UserWarning, match=r"home directory.*JAX_COMPILATION_CACHE_DIR"):
        runtime.keep_compiled()


@pytest.mark.parametrize("mode", [0o777, 0o772])
def test_programs_of_a_folder_that_others_can_write_are_not_trusted(
    tmp_path, monkeypatch, mode
):
    monkeypatch.setattr("jax.config", Settings())
    folder = tmp_path / "shared" / "compiled"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent):
        place.chmod(mode)
        with pytest.warns(UserWarning, match=rf"other users can write to {place}\)"):
            runtime.keep_compiled(folder)
        place.chmod(0o700)


class Settings:
    """JAX's, with nothing set."""

    jax_compilation_cache_dir = None
    jax_enable_compilation_cache = True


def test_without_a_home_the_data_s_cache_is_asked_for(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UserError, match="no home directory for the cache: set XDG"):
        runtime.cache_folder()


def test_devices_that_are_not_there_are_one_sentence(monkeypatch):
    def none():
        raise RuntimeError("Unable to initialize backend 'cuda': No jaxlib.\nTrace")

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr("jax.devices", none)
    with pytest.raises(UserError) as error:
        runtime.find_devices()
    assert str(error.value) == (
        "JAX cannot use the devices that JAX_PLATFORMS=cuda names (Unable to "
        "initialize backend 'cuda': No jaxlib): unset it, or set it to cpu."
    )


def test_a_file_of_flags_is_left_as_it_is_and_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    monkeypatch.setattr(runtime, "_version_of", lambda package: "0.10.2")
    runtime.configure()
    assert os.environ["XLA_FLAGS"] == str(tmp_path / "flags")
    with pytest.raises(UserError, match="flags is neither a flag, which begins with"):
        runtime.find_devices()
    (tmp_path / "flags").touch()
    runtime.find_devices()


@pytest.mark.slow
def test_the_users_own_folder_and_refusal_are_kept(tmp_path):
    run(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"))
    assert any((tmp_path / "theirs").iterdir())
    run(tmp_path / "ours", JAX_ENABLE_COMPILATION_CACHE="false")
    assert not (tmp_path / "ours").exists()
