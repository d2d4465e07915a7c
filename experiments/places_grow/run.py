"""What all stages of a run share: where it stands, its log and its checkpoints."""

import dataclasses
from typing import Any, NoReturn

import jax
import numpy as np
from rich.console import Console

from experiments.places_grow.config import Config
from experiments.shared.run_dir import RunLog
from jaxgrow.errors import UserError
from jaxgrow.inpainting.networks import InpaintState
from jaxgrow.training import loop
from jaxgrow.training.checkpoint import Checkpointer


@dataclasses.dataclass
class Progressed:
    """Where a run stands besides its arrays; the JSON that every checkpoint carries."""

    stage: int = 0
    stage_step: int = 0
    stage_done: bool = False
    global_step: int = 0
    fade: float = 1.0
    plateau: dict[str, Any] = dataclasses.field(default_factory=dict)
    wall_s: float = 0.0
    stage_wall_s: float = 0.0
    stages: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Run(RunLog):
    """A run under way.

    Attributes:
        at: Where it stands.
        interrupt: Whether it has been asked to stop.
    """

    def __init__(self, config: Config, console: Console, checkpointer: Checkpointer):
        super().__init__(config.run_dir, console)
        self.config, self.checkpointer = config, checkpointer
        self.interrupt = loop.Interrupt()
        self.at = Progressed()

    def save(self, state: InpaintState) -> None:
        """Starts to write a checkpoint; one that is there already stays as it is."""
        leaves = jax.device_get(jax.tree.leaves(state))
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            self.refuse_not_finite("a weight or moment", self.at.stage_step)
        meta = {"config": self.config.result_fields(), "at": vars(self.at)}
        self.checkpointer.save(self.at.global_step, state, meta)

    def refuse_not_finite(self, name: str, step: int) -> NoReturn:
        """Ends the run: `name` is NaN or infinite at `step` of the stage."""
        resolution = self.config.growth.resolutions[self.at.stage]
        latest = self.checkpointer.latest_meta()
        kept = "no checkpoint had been saved"
        if latest is not None:
            kept = (
                f"the last good checkpoint, of step {latest[0]} of the run, is kept in "
                f"{self.checkpointer.directory}"
            )
        raise UserError(
            f"{name} is not finite at step {step} of the {resolution} px stage; "
            f"{kept}: lower the learning rates and give another --run-dir."
        )
