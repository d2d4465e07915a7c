"""Strict numerics, two virtual devices, and a cheap compiler for every test."""

import gc
import math
import os

import jax
import jaxlib.version
import pytest

from jaxgrow.devices import backend, runtime


def _set_flags():
    """Compiles a training step in a third of the CPU time, if `make test` asks so.

    jaxlib 0.11.1 has only the other emitters, and aborts on a flag it does not know.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "codegen_split_count" not in flags:
        # A small program gains nothing from parts that are compiled side by side.
        flags += " --xla_cpu_parallel_codegen_split_count=1"
    is_cheap = jax.config.read("jax_disable_most_optimizations")
    has_others = jaxlib.version.__version_info__ < (0, 11)
    if is_cheap and has_others and "fusion_emitters" not in flags:
        flags += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = flags


_set_flags()
runtime.configure()
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_finish():
    """Spares the garbage collector what lives to the end, and most of its rounds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def onednn():
    """Convolutions by oneDNN, whose programs JAX's compilation cache cannot store."""
    name = "jax_persistent_cache_min_compile_time_secs"
    least = getattr(jax.config, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(runtime.ONEDNN_SWITCH, "true")
        runtime.configure()
    if not backend.uses_onednn():
        pytest.skip("oneDNN is not tested on this machine")
    jax.config.update(name, math.inf)
    yield
    backend.choose_onednn(False)
    jax.config.update(name, least)


@pytest.fixture(params=["onednn", "xla"])
def either_library(request):
    """Convolutions on CPU by oneDNN, and by XLA."""
    if request.param == "onednn":
        request.getfixturevalue("onednn")


@pytest.fixture(autouse=True, scope="session")
def _cache_in_a_folder_of_its_own(tmp_path_factory):
    """Keeps the data caches of tests away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
