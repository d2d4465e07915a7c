"""Files of feature networks with random weights, as tools.export_weights makes them."""

from pathlib import Path
from typing import Any

from jaxgrow.pretrained import networks
from tools.bridge import convert


def write_random(path: Path, network: Any, **fields: Any) -> Path:
    """Writes a network's random weights, which say that they are random."""
    about = networks.WeightsProvenance(
        network=network,
        source="a test",
        licence="none",
        source_sha256=None,
        is_random=True,
        input=networks.input_format(network),
        **fields,
    )
    variables = convert.random_variables(about, 0)
    networks.save(path, networks.Pretrained(variables, about))
    return path
