"""Samplers of the multi-view diffusion model: missing views given the others."""

from jaxgrow.sampling.config import Grid as Grid
from jaxgrow.sampling.config import SamplerConfig as SamplerConfig
from jaxgrow.sampling.config import SamplerName as SamplerName
from jaxgrow.sampling.missing import sample_missing as sample_missing
