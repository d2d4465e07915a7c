import jax.numpy as jnp
import pytest

from jaxgrow.errors import UserError
from jaxgrow.storage import tensor_file


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, dtype, bad):
    path = tmp_path / "w.safetensors"
    tree = {"n": jnp.arange(3), "net": {"kernel": jnp.array([1.0, bad], dtype)}}
    tensor_file.save_tensors(path, "kind 1", {}, tree)
    with pytest.raises(UserError, match="net/kernel has numbers that are not finite"):
        tensor_file.load_tensors(path, "kind 1")
