"""The arrays that one network's training carries from step to step."""

from collections.abc import Mapping
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int, PyTree

from jaxgrow.typing import Params


# JAX and Orbax rebuild it with other leaves than arrays: shapes, descriptions.
@no_type_check
class TrainState(struct.PyTreeNode):
    """Arrays only, without functions, so that it can be saved and sharded as a whole.

    Attributes:
        step: Updates applied in this stage.
        params: Trainable and frozen submodules together, by name.
        stats: The other collections: spectral-norm vectors, batch statistics.
        opt_state: State of the optimiser that the step was built with; no moments
            of frozen weights.
        ema_params: Exponential moving average of `params`; None if none is kept.
    """

    step: Int[Array, ""]
    params: dict[str, Params]
    stats: dict[str, PyTree]
    opt_state: Any
    ema_params: dict[str, Params] | None

    @classmethod
    def create(
        cls,
        params: dict[str, Params],
        stats: dict[str, PyTree],
        tx: optax.GradientTransformation,
        *,
        keep_ema: bool,
    ) -> "TrainState":
        # A copy: state buffers are donated, and one buffer cannot be donated twice.
        ema_params = jax.tree.map(jnp.copy, params) if keep_ema else None
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            stats=stats,
            opt_state=tx.init(params),
            ema_params=ema_params,
        )

    def apply_gradients(
        self,
        grads: Mapping[str, Params],
        stats: dict[str, PyTree],
        tx: optax.GradientTransformation,
        ema_decay: float,
    ) -> "TrainState":
        """Return the state after one update of the submodules that `grads` names.

        All other submodules are frozen. `tx` gets zero gradients for them and must
        ignore them; their parameters are passed on as they are and stay bit-identical.
        The average's decay rises to `ema_decay` as (1 + step) / (10 + step), so that
        the average forgets the fresh weights of a stage's start.
        """
        frozen = {n: p for n, p in self.params.items() if n not in grads}
        all_grads = {**grads, **jax.tree.map(jnp.zeros_like, frozen)}
        updates: Any
        updates, opt_state = tx.update(all_grads, self.opt_state, self.params)
        trained: Any = optax.apply_updates(
            {n: self.params[n] for n in grads}, {n: updates[n] for n in grads}
        )
        params = {**frozen, **trained}
        ema_params = self.ema_params
        if ema_params is not None:
            decay = jnp.minimum(ema_decay, (1.0 + self.step) / (10.0 + self.step))
            ema_params = jax.tree.map(
                lambda e, p: e + (1.0 - decay) * (p - e), ema_params, params
            )
        return self.replace(
            step=self.step + 1,
            params=params,
            stats=stats,
            opt_state=opt_state,
            ema_params=ema_params,
        )

    @property
    def eval_params(self) -> dict[str, Params]:
        """Parameters for evaluation and inference: the average if one is kept."""
        return self.params if self.ema_params is None else self.ema_params


def count_params(tree: PyTree) -> int:
    """Return the number of values in all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
