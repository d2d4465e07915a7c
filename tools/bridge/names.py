"""Keys of the arrays of each network in state dicts of timm, torchvision and lpips.

Every function returns {path in Flax: key}, with paths joined by "/" and the collection
first. All sources of a network share one table once `convert` has renamed the keys of
lpips, except MobileNetV3, whose keys differ between timm and torchvision.
"""

from collections.abc import Iterator
from typing import Literal

from jaxgrow.nets import mobilenet, squeezenet
from jaxgrow.nets.vgg19 import VGG19_BLOCKS


Names = dict[str, str]

_TIMM_STAGES = {"large": (1, 2, 3, 4, 2, 3), "small": (1, 2, 3, 2, 3)}


def vgg19(num_blocks: int) -> Names:
    """Return keys of the first blocks; pooling layers are numbered too."""
    names: Names = {}
    index = 0
    for block, (_, depth) in enumerate(VGG19_BLOCKS[:num_blocks], 1):
        for layer in range(1, depth + 1):
            names |= _conv(f"conv{block}_{layer}", f"features.{index}")
            index += 2
        index += 1
    return names


def squeezenet_lpips() -> Names:
    """Return keys of torchvision for the backbone and of lpips for the heads."""
    names = _conv("net/conv0", "features.0")
    for index in squeezenet.FIRES:
        for ours, theirs in (
            ("squeeze", "squeeze"),
            ("expand1", "expand1x1"),
            ("expand3", "expand3x3"),
        ):
            key = f"features.{index}.{theirs}"
            names |= _conv(f"net/fire{index}/{ours}", key)
    for i in range(len(squeezenet.TAP_CHANNELS)):
        names[f"params/heads/head{i}"] = f"lin{i}.model.1.weight"
    return names


def resnet18() -> Names:
    """Return keys of torchvision and timm."""
    names = _conv("stem", "conv1", bias=False) | _norm("stem_norm", "bn1")
    for stage in range(4):
        for i in range(2):
            ours, theirs = f"stage{stage}_block{i}", f"layer{stage + 1}.{i}"
            for k in range(2):
                names |= _conv(f"{ours}/conv{k}", f"{theirs}.conv{k + 1}", bias=False)
                names |= _norm(f"{ours}/norm{k}", f"{theirs}.bn{k + 1}")
            if stage > 0 and i == 0:
                shortcut = f"{theirs}.downsample"
                names |= _conv(f"{ours}/shortcut", f"{shortcut}.0", bias=False)
                names |= _norm(f"{ours}/shortcut_norm", f"{shortcut}.1")
    return names | _conv("head", "fc")


def mobilenetv3(
    size: Literal["large", "small"], norm: Literal["torchvision", "timm"]
) -> Names:
    """Return keys of the library that the norms are from."""
    by_library = _mobilenet_timm if norm == "timm" else _mobilenet_torchvision
    names: Names = {}
    for part, conv, bn in by_library(size):
        if bn is None:
            names |= _conv(part, conv)
        else:
            names |= _conv(f"{part}/conv", conv, bias=False)
            names |= _norm(f"{part}/norm", bn)
    return names


def inception_fid(paths: list[str]) -> Names:
    """Return keys after folding the batch norms: X.conv.weight and X.conv.bias."""
    names: Names = {}
    for path in paths:
        theirs = path.replace("_branch", ".branch")
        names |= _conv(path, f"{theirs}.conv")
    return names


def _mobilenet_timm(size: str) -> Iterator[tuple[str, str, str | None]]:
    yield "stem", "conv_stem", "bn1"
    stages = _TIMM_STAGES[size]
    places = [(s, k) for s, depth in enumerate(stages) for k in range(depth)]
    rows = zip(_expands(size), mobilenet.ROWS[size], places, strict=True)
    for i, (expands, row, (stage, k)) in enumerate(rows):
        ours, theirs = f"block{i}", f"blocks.{stage}.{k}"
        first = 1
        if expands:
            yield f"{ours}_expand", f"{theirs}.conv_pw", f"{theirs}.bn1"
            first = 2
        yield f"{ours}_depthwise", f"{theirs}.conv_dw", f"{theirs}.bn{first}"
        if row.squeeze:
            yield f"{ours}_squeeze/squeeze", f"{theirs}.se.conv_reduce", None
            yield f"{ours}_squeeze/excite", f"{theirs}.se.conv_expand", None
        last = "conv_pwl" if expands else "conv_pw"
        yield f"{ours}_project", f"{theirs}.{last}", f"{theirs}.bn{first + 1}"
    last = f"blocks.{len(stages)}.0"
    yield "last", f"{last}.conv", f"{last}.bn1"
    yield "hidden", "conv_head", None
    yield "head", "classifier", None


def _mobilenet_torchvision(size: str) -> Iterator[tuple[str, str, str | None]]:
    yield "stem", "features.0.0", "features.0.1"
    rows = mobilenet.ROWS[size]
    for i, (expands, row) in enumerate(zip(_expands(size), rows, strict=True)):
        parts = ["expand"] if expands else []
        parts += ["depthwise", *(["squeeze"] if row.squeeze else []), "project"]
        for k, part in enumerate(parts):
            ours, theirs = f"block{i}_{part}", f"features.{i + 1}.block.{k}"
            if part == "squeeze":
                yield f"{ours}/squeeze", f"{theirs}.fc1", None
                yield f"{ours}/excite", f"{theirs}.fc2", None
            else:
                yield ours, f"{theirs}.0", f"{theirs}.1"
    last = f"features.{len(rows) + 1}"
    yield "last", f"{last}.0", f"{last}.1"
    yield "hidden", "classifier.0", None
    yield "head", "classifier.3", None


def _expands(size: str) -> list[bool]:
    """True for each block that starts with a 1x1 convolution to more channels."""
    rows = mobilenet.ROWS[size]
    inputs = [mobilenet.STEM_WIDTH, *(row.out for row in rows[:-1])]
    return [row.expanded != i for row, i in zip(rows, inputs, strict=True)]


def _conv(path: str, key: str, *, bias: bool = True) -> Names:
    names = {f"params/{path}/kernel": f"{key}.weight"}
    return names | ({f"params/{path}/bias": f"{key}.bias"} if bias else {})


def _norm(path: str, key: str) -> Names:
    return {
        f"params/{path}/scale": f"{key}.weight",
        f"params/{path}/bias": f"{key}.bias",
        f"batch_stats/{path}/mean": f"{key}.running_mean",
        f"batch_stats/{path}/var": f"{key}.running_var",
    }
