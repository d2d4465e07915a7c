"""Counts that XLA's own analysis leaves out, from the text of a compiled program.

They are every kernel of a program for a GPU, and oneDNN's calls in one for a CPU.
"""

import math
import re
from typing import Any, NamedTuple


_BYTES = {
    **dict.fromkeys(("pred", "s8", "u8"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64"), 8),
}
_ARRAY = re.compile(rf"\b({'|'.join(_BYTES)})\[([\d,]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?(%\S+) \(.*\) -> .* \{$", re.MULTILINE)
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?(%\S+) = (\([^=]*?\)|\S+) ([\w-]+)\(([^)]*)\)(.*)$", re.MULTILINE
)
# These only name existing arrays and start no kernel.
_FREE = {"parameter", "get-tuple-element", "bitcast", "constant", "tuple"}
_CONTROL = {"while", "conditional", "async-start"}


class Kernel(NamedTuple):
    """One kernel of a program.

    Attributes:
        num_bytes: Bytes of operands and results, as if no cache helped.
        flops: Operations of its convolutions and matrix products alone.
    """

    num_bytes: int
    flops: float = 0.0


class _Instruction(NamedTuple):
    name: str
    shape: str
    op: str
    operands: list[str]
    rest: str


def kernels_of(hlo: str) -> list[Kernel]:
    """Return the kernels of a scheduled program for a GPU, in order.

    Raises:
        ValueError: The program branches, or has a loop of unknown length.
    """
    hlo = re.sub(r"/\*.*?\*/", "", hlo)
    bodies, entry = {}, ""
    for start in _COMPUTATION.finditer(hlo):
        end = hlo.index("\n}", start.end())
        matches = _INSTRUCTION.finditer(hlo, start.end(), end)
        bodies[start[2]] = [_parsed(match) for match in matches]
        entry = start[2] if start[1] else entry
    return _kernels_of(entry, bodies)


def onednn_kernels_of(hlo: str) -> list[Kernel]:
    """Return the calls of oneDNN (jaxgrow/ops) in a program for a CPU, in order."""
    hlo = re.sub(r"/\*.*?\*/", "", hlo)
    found = [_parsed(match) for match in _INSTRUCTION.finditer(hlo)]
    shapes = {i.name: i.shape for i in found}
    kernels = []
    for i in found:
        if 'custom_call_target="__onednn$convolution"' not in i.rest:
            continue
        features = re.search(r'"output_feature_dim":"?(\d+)', i.rest)
        assert features is not None, i
        arrays = [i.shape, *(shapes[name] for name in i.operands[:2])]
        output, kernel = _sizes(arrays[0]), _sizes(arrays[2])
        weights = math.prod(kernel) / kernel[int(features[1])]
        num_bytes = sum(_num_bytes(array) for array in arrays)
        kernels.append(Kernel(num_bytes, 2.0 * math.prod(output) * weights))
    return kernels


def shapes_of(hlo: str) -> dict[str, str]:
    """Return result and operands by instruction: `f32[2] <- f32[2], f32[]`."""
    hlo = re.sub(r"/\*.*?\*/", "", hlo)
    found = [_parsed(match) for match in _INSTRUCTION.finditer(hlo)]
    arrays = {i.name: re.sub(r"\{[^}]*\}", "", i.shape) for i in found}
    return {
        i.name.removeprefix("%"): f"{arrays[i.name]} <- "
        + ", ".join(arrays.get(name, "?") for name in i.operands)
        for i in found
    }


def _kernels_of(computation: str, bodies: dict[str, Any]) -> list[Kernel]:
    shapes = {i.name: i.shape for i in bodies[computation]}
    kernels = []
    for i in bodies[computation]:
        trips = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', i.rest)
        if i.op == "while" and trips is not None:
            body = re.search(r"body=(%[^\s,]+)", i.rest)
            assert body is not None, i
            kernels += int(trips[1]) * _kernels_of(body[1], bodies)
        elif i.op == "call":
            called = re.search(r"to_apply=(%[^\s,]+)", i.rest)
            assert called is not None, i
            kernels += _kernels_of(called[1], bodies)
        elif i.op in _CONTROL:
            raise ValueError(f"the program has a {i.op}")
        elif i.op not in _FREE:
            num_bytes = _num_bytes(i.shape) + sum(
                _num_bytes(shapes[name]) for name in i.operands
            )
            kernels.append(Kernel(num_bytes, _flops_of(i, shapes, bodies)))
    return kernels


def _parsed(match: re.Match[str]) -> _Instruction:
    name, shape, op, operands, rest = match.groups()
    return _Instruction(name, shape, op, re.findall(r"%[^\s,]+", operands), rest)


def _flops_of(i: _Instruction, shapes, bodies) -> float:
    """Operations of the convolution or matrix product in an instruction, or 0."""
    if i.op == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]+)\}", i.rest)
        assert contracted is not None, i
        return _matrix_product(i, shapes, contracted[1].split(","))
    if i.op == "custom-call":
        return _library_product(i, shapes)
    inner = re.search(r"calls=(%[^\s,]+)", i.rest)
    if inner is None:
        return 0.0
    body = bodies[inner[1]]
    within = {j.name: j.shape for j in body}
    parts = [_flops_of(j, within, bodies) for j in body if j.op in ("dot", "fusion")]
    return next((part for part in parts if part), 0.0)


def _matrix_product(i: _Instruction, shapes, contracted: list[str]) -> float:
    first = _sizes(shapes[i.operands[0]])
    depth = math.prod(first[int(d)] for d in contracted)
    return 2.0 * math.prod(_sizes(i.shape)) * depth


def _library_product(i: _Instruction, shapes) -> float:
    """Operations of a convolution of cuDNN or a product of cuBLAS."""
    target = re.search(r'custom_call_target="([^"]*)"', i.rest)
    name = target[1] if target else ""
    if "gemm" in name or "matmul" in name:
        depth = re.search(r'"lhs_contracting_dimensions":\["(\d+)"\]', i.rest)
        assert depth is not None, i
        return _matrix_product(i, shapes, [depth[1]])
    if "conv" not in name:
        return 0.0
    result, first, second = i.shape, *(shapes[name] for name in i.operands[:2])
    output, kernel = {
        "__cudnn$convBackwardInput": (first, second),
        "__cudnn$convBackwardFilter": (second, result),
    }.get(name, (result, second))
    labels = re.search(r"dim_labels=\w+_(\w+)->\w+", i.rest)
    assert labels is not None, i
    # Every number of the output takes a product with each weight that leads to it.
    weights = math.prod(_sizes(kernel)) / _sizes(kernel)[labels[1].index("o")]
    return 2.0 * math.prod(_sizes(output)) * weights


def _sizes(shape: str) -> list[int]:
    """Sides of an array, or of the first one of a tuple."""
    array = _ARRAY.search(shape)
    assert array is not None, shape
    return [int(n) for n in array[2].split(",") if n]


def _num_bytes(shape: str) -> int:
    return sum(
        _BYTES[kind] * math.prod(int(n) for n in sides.split(",") if n)
        for kind, sides in _ARRAY.findall(shape)
    )
