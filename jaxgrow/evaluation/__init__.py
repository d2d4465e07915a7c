"""Evaluation of inpainting: the same photographs and holes for every method."""

from jaxgrow.evaluation.compare import EvalResult as EvalResult
from jaxgrow.evaluation.compare import Row as Row
from jaxgrow.evaluation.compare import evaluate as evaluate
from jaxgrow.evaluation.feature_nets import FeatureNets as FeatureNets
from jaxgrow.evaluation.intervals import Difference as Difference
from jaxgrow.evaluation.learned import as_fill as as_fill
from jaxgrow.evaluation.learned import train_unet as train_unet
from jaxgrow.evaluation.provenance import provenance as provenance
from jaxgrow.evaluation.results import draw_panel as draw_panel
from jaxgrow.evaluation.results import to_markdown as to_markdown
from jaxgrow.evaluation.results import write_results as write_results
