"""Trained networks of System 2 as single files with all that is needed to run them."""

from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import jax

from jaxgrow.devices import settings
from jaxgrow.errors import UserError
from jaxgrow.multiview import gaussian
from jaxgrow.multiview.denoiser import Denoiser
from jaxgrow.multiview.gaussian import GaussianPath
from jaxgrow.multiview.latents import LatentStats
from jaxgrow.multiview.regressor import MeanRegressor
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets import autoencoder, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.storage import configs, network_file, tensor_file
from jaxgrow.typing import Params


LatentModel: TypeAlias = Literal["score", "regressor"]


class SavedAutoencoder(NamedTuple):
    """The autoencoder, from images in [0, 1] to latents that are not standardised."""

    config: AutoencoderConfig
    params: Params

    @property
    def digest(self) -> str:
        """Hash of the weights."""
        return tensor_file.hash_tensors(self.params)


class SavedLatentModel(NamedTuple):
    """The score network or the mean regressor, with the statistics of its latents.

    Attributes:
        config: Shape of the network.
        params: Its weights, the averaged ones.
        stats: Of the training latents.
        view_names: Names of the views.
        sde: The noise process of the training; unused by the regressor.
        info: Notes of the training.
        gaussian: Closed form that it adds to, with `config.gaussian_path`.
        autoencoder: `SavedAutoencoder.digest` of the one that made its latents; None =
            unknown.
    """

    config: ScoreConfig
    params: Params
    stats: LatentStats
    view_names: tuple[str, ...]
    sde: VPSDE
    info: dict[str, Any]
    gaussian: GaussianPath | None = None
    autoencoder: str | None = None

    @property
    def denoiser(self) -> Denoiser:
        return Denoiser(self.config, self.sde, self.gaussian)

    @property
    def regressor(self) -> MeanRegressor:
        return MeanRegressor(self.config, self.gaussian)


def save_autoencoder(path: Path, saved: SavedAutoencoder, info: dict[str, Any]) -> None:
    """Write the autoencoder atomically; raise `UserError` if the disk refuses."""
    header = {"config": saved.config, "info": info}
    network_file.save_network(path, "autoencoder", header, saved.params)


@settings.fixed()
def load_autoencoder(path: Path) -> SavedAutoencoder:
    """Load a file of `save_autoencoder`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another kind, or does not fit.
    """
    header, params = network_file.load_network(path, "autoencoder")
    config = network_file.config_of(path, AutoencoderConfig, header)
    shapes = jax.eval_shape(lambda: autoencoder.init_autoencoder(config, 0))
    network_file.check_shapes(path, params, shapes)
    return SavedAutoencoder(config, params)


def save_latent_model(path: Path, kind: LatentModel, saved: SavedLatentModel) -> None:
    """Write a score network or regressor; raise `UserError` if the disk refuses."""
    header = {
        "config": saved.config,
        "view_names": saved.view_names,
        "sde": saved.sde,
        "info": saved.info,
        "autoencoder": saved.autoencoder,
    }
    tree = {"params": saved.params, "stats": saved.stats._asdict()}
    if saved.gaussian is not None:
        tree["covariance"] = gaussian.covariance_of(saved.gaussian)
    network_file.save_network(path, kind, header, tree)


@settings.fixed()
def load_latent_model(path: Path, kind: LatentModel) -> SavedLatentModel:
    """Load a file of `save_latent_model`, bit for bit.

    The Gaussian path is fitted again to its float32 covariance.

    Raises:
        UserError: The file is missing, damaged, of another kind, or does not fit.
    """
    header, tree = network_file.load_network(path, kind)
    config = network_file.config_of(path, ScoreConfig, header)
    with network_file.interpreting(path, kind):
        sde, names = configs.from_plain(VPSDE, header["sde"]), header["view_names"]
        info, made_with = header["info"], header["autoencoder"]
    stats = LatentStats(**tree["stats"])
    num_views, dim = stats.mean.shape
    shapes = jax.eval_shape(lambda: score.init_score(config, num_views, dim, 0))
    network_file.check_shapes(path, tree["params"], shapes)
    path_of = None
    if config.gaussian_path:
        path_of = gaussian.fit_path(tree["covariance"], num_views)
    return SavedLatentModel(
        *(config, tree["params"], stats, tuple(names), sde, info, path_of, made_with)
    )


def load_with_autoencoder(
    weights: Path, kind: LatentModel
) -> tuple[SavedAutoencoder, SavedLatentModel]:
    """Load the autoencoder and a latent model from a run's folder of weights.

    Raises:
        UserError: A file is missing, damaged, of another kind or does not fit, or the
            model was trained on the latents of another autoencoder.
    """
    paths = [weights / f"{name}.safetensors" for name in ("autoencoder", kind)]
    saved, model = load_autoencoder(paths[0]), load_latent_model(paths[1], kind)
    if model.autoencoder not in (None, saved.digest):
        raise UserError(
            f"{paths[1]} was trained with another autoencoder than {paths[0]}: take "
            "both from one run."
        )
    return saved, model
