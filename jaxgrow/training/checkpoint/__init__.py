"""Checkpoints that survive a kill, a full disk and a damaged file.

Every step directory holds three items: `meta`, the caller's JSON, which is read
first, because the shape of the state depends on it; `seal`, the step, the path, shape
and type of every leaf and a digest of all their bytes; and `state`, the arrays.
"""

from jaxgrow.training.checkpoint.checkpointer import Checkpointer as Checkpointer
from jaxgrow.training.checkpoint.checkpointer import (
    DamagedCheckpoint as DamagedCheckpoint,
)
from jaxgrow.training.checkpoint.compare import check_same as check_same
