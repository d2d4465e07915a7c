"""What XLA makes of a program for an H100, on a machine that has none.

The plug-in for CUDA compiles for a device that is only described: its fusions, its
choice of libraries and its kernels are those that a GPU gets, but for the tuning of
matrix products and convolutions, which takes one.
"""

from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from benchmarks.programs import Program
from jaxgrow.errors import UserError


# Of NVIDIA's H100 SXM, in the form of XLA's GpuTargetConfigProto.
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


def compile_for_h100(program: Program) -> str:
    """The optimised program's text.

    Raises:
        UserError: The CUDA plug-in is not installed.
    """
    try:
        topology = topologies.get_topology_desc(
            platform="cuda",
            topology_name="h100",
            topology="1x1x1",
            target_config=_H100,
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
    lowered = jax.jit(step, donate_argnums=0).lower(*jax.tree.map(placed, shapes))
    text = lowered.compile().as_text()
    assert text is not None
    return text
