"""Samplers of the multi-view diffusion model: missing views given the others."""

from jaxgrow.multiview.sampling.config import Grid as Grid
from jaxgrow.multiview.sampling.config import SamplerConfig as SamplerConfig
from jaxgrow.multiview.sampling.config import SamplerName as SamplerName
from jaxgrow.multiview.sampling.missing import sample_missing as sample_missing
