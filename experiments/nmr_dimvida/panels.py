"""Pictures of the run: conditioning, generated and real views."""

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from experiments.nmr_dimvida.run import Run
from jaxgrow import viz
from jaxgrow.data.views import ViewSet
from jaxgrow.devices import hosts
from jaxgrow.multiview.generator import ViewGenerator


_FRAME = (38, 132, 222)  # blue: a conditioning view
OBJECTS = 8


def view_panel(
    generated: UInt8[np.ndarray, "n v h w 3"],
    real: UInt8[np.ndarray, "n v h w 3"],
    missing: Bool[np.ndarray, "n v"],
    view_names: tuple[str, ...],
) -> Image.Image:
    """Return one row per object: generated views, conditioning framed, then real."""
    border = np.ones(generated.shape[2:4], bool)
    border[2:-2, 2:-2] = False
    is_framed = (border & ~missing[:, :, None, None])[..., None]
    framed = np.where(is_framed, np.array(_FRAME, np.uint8), generated)
    columns = np.concatenate([framed, real], axis=1)
    titles = [*view_names, *(f"real {name}" for name in view_names)]
    return viz.image_grid(columns, column_titles=titles)


def spread(views: ViewSet, count: int) -> ViewSet:
    """Return at most `count` objects, spread evenly over the set."""
    at = np.linspace(0, len(views) - 1, min(count, len(views)))
    return views.take(at.astype(int))


def draw_reconstructions(
    run: Run,
    step: int,
    images: UInt8[np.ndarray, "n v h w 3"],
    reconstructed: UInt8[np.ndarray, "n v h w 3"],
    view_names: tuple[str, ...],
) -> None:
    """Save the autoencoder's panel: every view reconstructed, and the real one."""
    if hosts.is_first():
        missing = np.ones(images.shape[:2], bool)
        panel = view_panel(reconstructed, images, missing, view_names)
        viz.save_png(run.run_dir / "samples" / f"autoencoder_{step:06d}.png", panel)


def draw_generated(
    run: Run, step: int, view_generator: ViewGenerator, views: ViewSet
) -> None:
    """Save the score network's panel: each object from one view, the views in turn."""
    if hosts.is_first():
        shown = spread(views, OBJECTS)
        known = np.arange(len(shown)) % shown.num_views
        missing = np.arange(shown.num_views) != known[:, None]
        generated = view_generator.generate_views(shown.images, missing)[:, 0]
        panel = view_panel(generated, shown.images, missing, view_generator.view_names)
        viz.save_png(run.run_dir / "samples" / f"score_{step:06d}.png", panel)
