"""What the devices of a data-parallel step tell each other, and what that costs many.

    python -m benchmarks.scaling

The steps are compiled for 1, 2, 4 and 8 virtual devices of a CPU and their all-reduces
are read from the compiled programs; nothing is run, for the time of virtual devices
proves nothing. The estimate for 256 GPUs takes its arithmetic from
`python -m benchmarks.predict`.
"""

import functools
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from jaxgrow.devices import runtime


runtime.configure()

import jax  # noqa: E402

from benchmarks import measure, programs, table  # noqa: E402
from jaxgrow.devices.parallel import Placement  # noqa: E402


DEVICES = (1, 2, 4, 8)
MANY = 256
LINK_GBYTES_PER_S = 50.0
HOP_US = 10.0
ASSUMPTIONS = (
    f"{MANY} H100 in {MANY // 8} hosts, on paper: a ring all-reduce of B bytes over N "
    f"devices moves 2 (N - 1) / N B through every device's link, of "
    f"{LINK_GBYTES_PER_S:.0f} GB/s (400 Gb/s InfiniBand; NVLink within a host is nine "
    f"times faster), and {HOP_US:.0f} us for each of 2 log2 N hops. Arithmetic is the "
    "prediction for one H100; in strong scaling the batch of one device is shared by "
    "all, the part of a step that starts kernels does not shrink."
)
_BYTES = {
    **{"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4},
    **{"f64": 8, "s64": 8, "u64": 8},
}
_ALL_REDUCE = re.compile(r" = (.*?) all-reduce(-start)?\(")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


class Collectives(NamedTuple):
    """All-reduces of a program: how many, of how many bytes, how many of them overlap.

    Attributes:
        asynchronous: Started in one place and awaited in another, so that arithmetic
            can go on in between.
    """

    count: int
    num_bytes: int
    asynchronous: int


def collectives_of(hlo: str) -> Collectives:
    """Read from the text of a compiled program."""
    found = _ALL_REDUCE.findall(hlo)
    return Collectives(
        len(found),
        sum(_bytes_of(shapes) for shapes, _ in found),
        sum(start != "" for _, start in found),
    )


def _bytes_of(shapes: str) -> int:
    return sum(
        _BYTES[kind] * math.prod(int(n) for n in sides.split(",") if n)
        for kind, sides in _ARRAY.findall(shapes)
        if kind in _BYTES
    )


def all_reduce_ms(num_bytes: float, devices: int) -> float:
    """Of a ring over so many devices; 0 for one."""
    moved = 2 * (devices - 1) / devices * num_bytes
    hops = 2 * math.log2(devices)
    return moved / LINK_GBYTES_PER_S * 1e-6 + hops * HOP_US * 1e-3


def compiled_text(program: programs.Program, num_devices: int) -> str:
    """The program of every device of a mesh."""
    placement = Placement(num_devices, "mesh")
    step = placement.compile_step(program.step)
    shapes = placement.like(program.state), placement.like(program.data)
    batch = placement.shard_batch(program.batch)
    return step.lower(*shapes, batch).compile().as_text()


STEPS = {
    "GAN step, 16 px": (functools.partial(programs.gan, 16), 16),
    "score network, step": (programs.score_step, 64),
    "autoencoder, step": (programs.autoencoder_step, 16),
    "ResNet18, step": (programs.resnet18_step, 16),
}
_PREDICTED = {
    "GAN step, 16 px": "GAN step, 16 px, perceptual term, bf16",
    "score network, step": "score network, step, bf16, 512",
    "autoencoder, step": "autoencoder, step, bf16",
    "ResNet18, step": "ResNet18, step, bf16",
}


def main() -> None:
    jax.config.update("jax_num_cpu_devices", max(DEVICES))
    rows, most = [], {}
    for name, (make, batch_size) in STEPS.items():
        for devices in DEVICES:
            # Strong scaling: the batch of all devices stays.
            text = compiled_text(make(batch_size), devices)
            found = collectives_of(text)
            most[name] = found.num_bytes
            rows.append(
                {
                    "step": name,
                    "devices": devices,
                    "batch_per_device": batch_size // devices,
                    "collectives": found.count,
                    "mbytes": round(found.num_bytes / 1e6, 3),
                    "asynchronous": found.asynchronous,
                }
            )
            print(rows[-1], flush=True)
    folder = Path(__file__).parent / "results"
    predicted = json.loads((folder / "h100.json").read_text())["steps"]
    of_one = {row["step"]: row for row in predicted}
    estimate = [
        estimated(name, kind, of_one[_PREDICTED[name]], most[name])
        for name in STEPS
        for kind in ("weak", "strong")
    ]
    found = {
        "assumptions": ASSUMPTIONS,
        "collectives": rows,
        "estimate": estimate,
    }
    measure.write_json(folder / "scaling.json", found)
    print(table.scaling_table(found))


def estimated(
    name: str, kind: str, row: dict[str, Any], num_bytes: float
) -> dict[str, Any]:
    """A step on `MANY` devices, from what is predicted for one.

    Weak: each has the batch that was predicted. Strong: all share it, at least an
    example each.
    """
    share = 1 if kind == "weak" else min(MANY, row["batch_size"])
    starts = row["kernels"] * 2e-3
    compute = (row["predicted_ms"] - starts) / share + starts
    wire = all_reduce_ms(num_bytes, share if share > 1 else MANY)
    ideal = row["predicted_ms"] / share
    return {
        "step": name,
        "kind": kind,
        "batch_per_device": row["batch_size"] // share,
        "compute_ms": round(compute, 4),
        "all_reduce_ms": round(wire, 4),
        "efficiency": round(ideal / (compute + wire), 3),
        "efficiency_overlapped": round(ideal / max(compute, wire), 3),
    }


if __name__ == "__main__":
    main()
