"""Trained networks of System 2 as single files that hold all it takes to run them."""

import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
from jaxtyping import PyTree

from jaxgrow import configs, gaussian, tensor_file
from jaxgrow.errors import UserError
from jaxgrow.gaussian import GaussianPath
from jaxgrow.latents import LatentStats
from jaxgrow.nets import autoencoder, classifiers, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.sde import VPSDE
from jaxgrow.typing import Params


LatentModel: TypeAlias = Literal["score", "regressor"]

_FORMAT = "jaxgrow {} 1"


class SavedAutoencoder(NamedTuple):
    """The autoencoder, from images in [0, 1] to latents as they come."""

    config: AutoencoderConfig
    params: Params


class SavedLatentModel(NamedTuple):
    """The score network or the mean regressor, with what its latents were scaled by.

    Attributes:
        config: Shape of the network.
        params: Its weights, the averaged ones.
        stats: Of the training latents, one row per view slot.
        view_names: What the slots are called.
        sde: The noise it was trained against; the regressor knows none.
        info: Whatever its maker noted.
        gaussian: What it adds to, with `config.gaussian_path`.
    """

    config: ScoreConfig
    params: Params
    stats: LatentStats
    view_names: tuple[str, ...]
    sde: VPSDE
    info: dict[str, Any]
    gaussian: GaussianPath | None = None


class SavedClassifier(NamedTuple):
    """A classifier of single views in [0, 1]."""

    config: ClassifierConfig
    params: Params
    stats: PyTree
    class_names: tuple[str, ...]


def save_autoencoder(path: Path, saved: SavedAutoencoder, info: dict[str, Any]) -> None:
    """Writes the autoencoder in one move; raises `UserError` if the disk refuses."""
    header = {"config": saved.config, "info": info}
    tensor_file.write(path, _FORMAT.format("autoencoder"), header, saved.params)


def load_autoencoder(path: Path) -> SavedAutoencoder:
    """The autoencoder in a file of `save_autoencoder`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another kind, or does not fit.
    """
    header, params = _read(path, "autoencoder")
    config = _config(path, AutoencoderConfig, header)
    shapes = jax.eval_shape(lambda: autoencoder.init_autoencoder(config, 0))
    _check(path, params, shapes)
    return SavedAutoencoder(config, params)


def save_latent_model(path: Path, kind: LatentModel, saved: SavedLatentModel) -> None:
    """Writes a score network or regressor; raises `UserError` if the disk refuses."""
    header = {
        "config": saved.config,
        "view_names": saved.view_names,
        "sde": saved.sde,
        "info": saved.info,
    }
    tree = {"params": saved.params, "stats": saved.stats._asdict()}
    if saved.gaussian is not None:
        tree["covariance"] = gaussian.covariance_of(saved.gaussian)
    tensor_file.write(path, _FORMAT.format(kind), header, tree)


def load_latent_model(path: Path, kind: LatentModel) -> SavedLatentModel:
    """The network in a file of `save_latent_model`, bit for bit.

    But for the Gaussian path, which is fitted again to its float32 covariance.

    Raises:
        UserError: The file is missing, damaged, of another kind, or does not fit.
    """
    header, tree = _read(path, kind)
    config = _config(path, ScoreConfig, header)
    sde = configs.from_plain(VPSDE, header["sde"])
    stats = LatentStats(**tree["stats"])
    num_views, dim = stats.mean.shape
    shapes = jax.eval_shape(lambda: score.init_score(config, num_views, dim, 0))
    _check(path, tree["params"], shapes)
    names, path_of = tuple(header["view_names"]), None
    if config.gaussian_path:
        path_of = gaussian.fit(tree["covariance"], num_views)
    return SavedLatentModel(
        config, tree["params"], stats, names, sde, header["info"], path_of
    )


def save_classifier(path: Path, saved: SavedClassifier, info: dict[str, Any]) -> None:
    """Writes a classifier in one move; raises `UserError` if the disk refuses."""
    header = {"config": saved.config, "class_names": saved.class_names, "info": info}
    tree = {"params": saved.params, "stats": saved.stats}
    tensor_file.write(path, _FORMAT.format("classifier"), header, tree)


def load_classifier(path: Path) -> SavedClassifier:
    """The classifier in a file of `save_classifier`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another kind, or does not fit.
    """
    header, tree = _read(path, "classifier")
    config = _config(path, ClassifierConfig, header)
    names = tuple(header["class_names"])
    _check(path, tree, _classifier_shapes(config, len(names)))
    return SavedClassifier(config, tree["params"], tree["stats"], names)


@functools.lru_cache(maxsize=16)
def _classifier_shapes(config: ClassifierConfig, num_classes: int) -> dict[str, PyTree]:
    params, stats = jax.eval_shape(
        lambda: classifiers.init_classifier(config, num_classes, 0)
    )
    return {"params": params, "stats": stats}


def _read(path: Path, kind: str) -> tuple[dict[str, Any], PyTree]:
    try:
        return tensor_file.read(path, _FORMAT.format(kind))
    except tensor_file.Unreadable as error:
        raise _wrong_kind(path, kind, error) from error


def _config(path: Path, kind: type, header: dict[str, Any]) -> Any:
    try:
        return configs.from_plain(kind, header["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong_kind(path, kind.__name__, error) from error


def _wrong_kind(path: Path, kind: str, error: Exception) -> UserError:
    reason = str(error).strip("'\"") or type(error).__name__
    return UserError(
        f"{path} is no {kind} of this version of jaxgrow ({reason}): choose one from "
        "the weights folder of a run of nmr_dimvida."
    )


def _check(path: Path, tree: PyTree, shapes: PyTree) -> None:
    difference = tensor_file.difference(tree, shapes)
    if difference is not None:
        raise UserError(
            f"the arrays in {path} are not those of its network: {difference}; write "
            "the file again from its run."
        )
