"""Strict numerics, two virtual devices, and a cheap compiler for every test."""

import jax
import pytest

from jaxgrow import runtime


runtime.configure()
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(autouse=True, scope="session")
def _cache_in_a_folder_of_its_own(tmp_path_factory):
    """Keeps the data caches of tests away from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
