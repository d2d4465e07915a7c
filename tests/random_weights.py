"""Files of feature networks with random weights, as tools.export_weights makes them."""

from pathlib import Path
from typing import Any

from jaxgrow import pretrained
from jaxgrow.bridge import convert


def write_random(path: Path, network: Any, **fields: Any) -> Path:
    """Writes a network's random weights, which say that they are random."""
    about = pretrained.Provenance(
        network=network,
        source="a test",
        licence="none",
        source_sha256=None,
        is_random=True,
        input=pretrained.input_law(network),
        **fields,
    )
    variables = convert.random_variables(about, 0)
    pretrained.save(path, pretrained.Pretrained(variables, about))
    return path
