"""Names, shapes and digests by which damage and foreign arrays are found."""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def canonical(obj: Any) -> str:
    """The one JSON text of `obj`; equal objects give equal texts."""
    return json.dumps(obj, sort_keys=True, allow_nan=False)


def make_seal(step: int, state: PyTree, meta: dict[str, Any]) -> dict[str, Any]:
    """`leaves` by `describe_leaves`, and digests of the arrays and of the header."""
    leaves = describe_leaves(state)
    seal = {"step": step, "leaves": leaves, "state": digest_of(state)}
    return {**seal, "header": header_of(meta, seal)}


def header_of(meta: Any, seal: dict[str, Any]) -> str:
    """Digest of `meta` and of the rest of the seal."""
    parts = [meta, *(seal.get(name) for name in ("step", "leaves", "state"))]
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def describe_leaves(tree: PyTree) -> dict[str, str]:
    """Path -> type and shape of every leaf, say "float32[3,4]"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }


def digest_of(tree: PyTree) -> str:
    """sha256 over the path, type, shape and bytes of every leaf."""
    digest = hashlib.sha256(canonical(describe_leaves(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()
