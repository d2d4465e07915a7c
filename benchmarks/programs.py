"""Training steps as compiled programs: their kernels, operations and bytes.

    python -m benchmarks.programs            # for the device that JAX has
    python -m benchmarks.programs --h100     # for an H100, on a machine without a GPU

Nothing is run. The table of a revision beside that of the revision before shows what
a change does to the programs. `--h100` needs XLA's plug-in for CUDA ('jaxgrow[cuda13]'
or [cuda12], in an environment of its own). The plug-in compiles for a device that is
only described: fusions, libraries and kernels are those of a GPU, except for the tuning
of matrix products and convolutions.
"""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal
from unittest import mock

import jax
import tyro
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks import hlo_kernels, roofline, table, training_steps
from benchmarks.training_steps import Program
from jaxgrow.devices import backend, runtime
from jaxgrow.errors import UserError


Dtype = Literal["float32", "bfloat16"]

# NVIDIA's H100 SXM as an XLA GpuTargetConfigProto.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


PROGRAMS: dict[str, Callable[[Dtype], Program]] = {
    **{
        f"gan-{r}": functools.partial(training_steps.gan, r, 128)
        for r in (4, 8, 16, 32, 64)
    },
    "score": functools.partial(training_steps.score_step, 512),
    "autoencoder": functools.partial(training_steps.autoencoder_step, 128),
    "resnet18": functools.partial(training_steps.resnet18_step, 128),
}
"""Builders by name; each takes the type of the products."""


def compile_for_h100(program: Program) -> Any:
    """Compile for an H100 that is not there.

    Raises:
        UserError: The CUDA plug-in is not installed.
    """
    try:
        topology = topologies.get_topology_desc(
            platform="cuda", topology_name="h100", topology="1x1x1", target_config=_H100
        )
    except NotImplementedError:
        raise UserError(
            "compiling for a GPU takes XLA's plug-in for CUDA, though no GPU: install "
            "'jaxgrow[cuda13]' or [cuda12] in an environment of its own."
        ) from None
    place = SingleDeviceSharding(topology.devices[0])

    def placed(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    step, *shapes = program
    shapes = jax.tree.map(placed, shapes)
    return jax.jit(step, donate_argnums=0).lower(*shapes).compile()


@contextlib.contextmanager
def _for_a_gpu() -> Iterator[None]:
    """Trace as on a GPU, without the plug-in looking for one."""
    jax.config.update("jax_platforms", "cpu")
    with (
        mock.patch.object(backend, "on_cpu", return_value=False),
        mock.patch.object(backend, "on_gpu", return_value=True),
    ):
        yield


@dataclasses.dataclass(frozen=True)
class Options:
    """Programs to compile, and the device."""

    only: tuple[str, ...] = tuple(PROGRAMS)
    """Their names."""
    compute_dtype: Dtype = "float32"
    """Type of the products."""
    h100: bool = False
    """Compile for an H100 instead of the device that JAX has."""


def main(options: Options) -> None:
    if unknown := set(options.only) - set(PROGRAMS):
        raise UserError(
            f"there is no program {sorted(unknown)[0]}: choose among "
            f"{', '.join(PROGRAMS)}."
        )
    rows = []
    with _for_a_gpu() if options.h100 else contextlib.nullcontext():
        for name in options.only:
            program = PROGRAMS[name](options.compute_dtype)
            if options.h100:
                compiled = compile_for_h100(program)
            else:
                step, *shapes = program
                compiled = jax.jit(step, donate_argnums=0).lower(*shapes).compile()
            rows.append([name, *_counts(compiled)])
            print(*rows[-1], flush=True)
    print(table.markdown(["program", "kernels", "GFLOP", "GB"], rows, left=1))


def _counts(compiled: Any) -> list[str]:
    """Number of kernels (on CPU of oneDNN's calls), GFLOP and GB of a program."""
    text, cost = compiled.as_text(), roofline.cost_of(compiled)
    on_gpu = backend.on_gpu()
    kernels = (hlo_kernels.kernels_of if on_gpu else hlo_kernels.onednn_kernels_of)(
        text
    )
    numbers = (cost.flops / 1e9, cost.bytes_accessed / 1e9)
    return [str(len(kernels)), *(f"{number:.4g}" for number in numbers)]


if __name__ == "__main__":
    runtime.configure(onednn=True)
    try:
        main(tyro.cli(Options, prog="python -m benchmarks.programs"))
    except UserError as error:
        sys.exit(f"error: {error}")
