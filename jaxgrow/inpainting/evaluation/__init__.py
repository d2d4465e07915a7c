"""Evaluation of inpainting: the same photographs and holes for every method."""

from jaxgrow.inpainting.evaluation.compare import EvalResult as EvalResult
from jaxgrow.inpainting.evaluation.compare import Row as Row
from jaxgrow.inpainting.evaluation.compare import evaluate as evaluate
from jaxgrow.inpainting.evaluation.intervals import Difference as Difference
from jaxgrow.inpainting.evaluation.results import draw_panel as draw_panel
from jaxgrow.inpainting.evaluation.results import to_markdown as to_markdown
from jaxgrow.inpainting.evaluation.results import write_results as write_results
from jaxgrow.inpainting.evaluation.unet_baseline import as_fill as as_fill
from jaxgrow.inpainting.evaluation.unet_baseline import train_unet as train_unet
