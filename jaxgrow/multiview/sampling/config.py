"""The configuration of a sampler, and its cost."""

import dataclasses
import itertools
from typing import Annotated, Literal, TypeAlias

from jaxgrow.errors import UserError
from jaxgrow.multiview.sampling.schedule import repaint_points
from jaxgrow.ranges import Checked, Count, Fraction, Range, Share


SamplerName: TypeAlias = Literal[
    "euler_maruyama", "ddim", "heun", "dpm++", "sde_dpm++", "repaint", "replace"
]
Grid: TypeAlias = Literal["time", "log_snr"]

_RESAMPLED = ("repaint", "replace")
_LOG_SNR_T_END = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerConfig(Checked):
    """The sampler of missing views. The default is the paper's."""

    name: SamplerName = "euler_maruyama"
    """euler_maruyama: the reverse SDE; ddim, heun and dpm++ (DPM-Solver++(2M)): the
    probability-flow ODE; sde_dpm++: DPM-Solver++(2M) for the SDE; repaint:
    euler_maruyama with resampling, the reference's default; replace: the joint model
    alone, conditioning views noised anew at every step."""
    num_steps: Annotated[int, Range(1, 100_000)] = 250
    """Steps from time 1 to 0."""
    grid: Grid = "time"
    """Spacing of the steps: even in time, or in log(alpha / sigma)."""
    t_end: Fraction | None = None
    """Start of the last step, which goes to 0 and leaves no noise; None is
    1 / num_steps on the time grid, so that all steps are equal, 0.001 on the other."""
    guidance: Annotated[float, Range(-1e6, 1e6)] = 1.0
    """Weight w of conditioning: noise = joint + w (conditional - joint). 1 is no
    guidance; any other weight doubles the network evaluations."""
    eta: Share = 0.0
    """Share of fresh noise in a step of ddim: 0 is the ODE, 1 ancestral sampling."""
    jump_length: Count = 10
    """Steps that repaint or replace goes back in one resampling."""
    num_resamples: Annotated[int, Range(1, 1_000)] | None = None
    """Times that repaint or replace takes every stretch of `jump_length` steps; None is
    10 for repaint and 1, no resampling, for replace."""

    def __post_init__(self):
        super().__post_init__()
        _check(self)

    @property
    def start_of_last_step(self) -> float:
        """`t_end`, or its default."""
        if self.t_end is not None:
            return self.t_end
        return 1.0 / self.num_steps if self.grid == "time" else _LOG_SNR_T_END

    @property
    def resamples(self) -> int:
        """`num_resamples`, or its default."""
        if self.num_resamples is not None:
            return self.num_resamples
        return 10 if self.name == "repaint" else 1

    @property
    def num_evaluations(self) -> int:
        """Network evaluations of one run: 2,410 for repaint at 250 steps.

        Heun evaluates twice a step and once in the last; guidance doubles all.
        """
        num = self.num_steps
        if self.name == "heun":
            num = 2 * self.num_steps - 1
        elif self.name in _RESAMPLED:
            points = repaint_points(self.num_steps, self.jump_length, self.resamples)
            num = sum(b < a for a, b in itertools.pairwise(points))
        return num if self.guidance == 1.0 else 2 * num


def _check(config: SamplerConfig) -> None:
    """Raise a `UserError` for a combination that no sampler supports."""
    resampled = config.name in _RESAMPLED
    name = config.name
    for wrong, sentence in (
        (
            resampled and (config.grid != "time" or config.t_end is not None),
            f"sampler.name {name} goes back over equal steps of time: leave "
            "sampler.grid time and sampler.t_end unset.",
        ),
        (
            name == "replace" and config.guidance != 1.0,
            "sampler.name replace has no conditional branch to guide: leave "
            "sampler.guidance 1.",
        ),
        (
            name != "ddim" and config.eta != 0.0,
            f"sampler.eta is ddim's: leave it 0 with sampler.name {name}.",
        ),
        (
            not resampled and config.num_resamples is not None,
            "sampler.num_resamples is repaint's and replace's: leave it unset with "
            f"sampler.name {name}.",
        ),
    ):
        if wrong:
            raise UserError(sentence)
