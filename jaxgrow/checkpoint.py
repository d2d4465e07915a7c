"""Checkpoints that survive a kill, a full disk and a damaged file.

Every step directory holds three items: `meta`, the caller's JSON, which is read
first, because the shape of the state depends on it; `seal`, the path, shape and type
of every leaf and a digest of all their bytes; and `state`, the arrays.
"""

import errno
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from jaxtyping import PyTree

from jaxgrow import files
from jaxgrow.errors import UserError


_NUM_NAMED = 4  # differing leaves that an error names before it says how many more


class DamagedCheckpoint(UserError):
    """The files of a checkpoint cannot be read, or are not what was written."""


class Checkpointer:
    """Saves and restores a tree of arrays together with a JSON `meta`.

    A save runs in the background and may be followed at once by a step that donates
    the saved arrays. A process killed during a save leaves the checkpoints before it
    as they were. An error of the disk shows itself at the latest in `wait`, as a
    `UserError`.

    Args:
        directory: Made if absent.
        keep: How many of the newest checkpoints stay.
    """

    def __init__(self, directory: Path, *, keep: int = 3):
        # Orbax logs every error that it also raises, with the traces of its threads.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(keep),
            cleanup_tmp_directories=True,
        )
        with files.disk_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Starts to save `state`; returns as soon as its arrays may be donated.

        A step that was saved already with equal arrays is left as it is.

        Args:
            step: Larger than every other step in the directory.
            state: Arrays only.
            meta: JSON only; its floats come back to the last bit.

        Raises:
            ValueError: `meta` is no JSON, or the step is there with other arrays.
            UserError: The disk refused this save or the one before it; the older
                checkpoints stay.
        """
        if json.loads(_canonical(meta)) != meta:
            raise ValueError(f"meta does not survive a trip through JSON: {meta}")
        self.wait()
        seal = _seal(state, meta)
        if step in self._manager.all_steps():
            if self._read_header(step)[1]["state"] == seal["state"]:
                return
            raise ValueError(f"step {step} is saved already, with other arrays")
        with files.disk_errors(self.directory):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    meta=ocp.args.JsonSave(meta),
                    seal=ocp.args.JsonSave(seal),
                ),
                force=True,
            )

    def latest_meta(self) -> tuple[int, dict[str, Any]] | None:
        """Step and `meta` of the newest checkpoint whose `meta` can be read."""
        for step in self._newest_first():
            try:
                return step, self._read_header(step)[0]
            except DamagedCheckpoint:
                continue
        return None

    def restore(self, step: int, like: PyTree) -> PyTree:
        """The arrays saved at `step`, bit for bit.

        Args:
            step: One of the saved steps.
            like: Arrays or `jax.ShapeDtypeStruct`s with the wanted structure. Where a
                leaf has a sharding, the restored array gets it; otherwise it goes to
                the first device.

        Raises:
            UserError: The checkpoint holds other leaves than `like`; nothing was read
                but their names.
            DamagedCheckpoint: Its files are not what was written.
        """
        _, seal = self._read_header(step)
        _check_leaves(seal["leaves"], _describe(like), f"{self.directory / str(step)}")
        args = ocp.args.StandardRestore(jax.tree.map(_target, like))
        state = self._read(step, state=args)["state"]
        if _digest(state) != seal["state"]:
            raise DamagedCheckpoint("its arrays differ from those that were saved")
        return state

    def restore_latest(
        self,
        make_like: Callable[[dict[str, Any]], PyTree],
        on_message: Callable[[str], None],
    ) -> tuple[int, PyTree, dict[str, Any]] | None:
        """Step, arrays and `meta` of the newest checkpoint that is whole.

        Damaged ones that are newer are deleted, each with a message. None if nothing
        was saved yet.

        Args:
            make_like: From `meta` to the `like` of `restore`. A `UserError` it raises,
                say for another config, ends the search and deletes nothing.
            on_message: Takes one sentence for every checkpoint passed over.

        Raises:
            UserError: Every checkpoint is damaged (all of them stay), or the newest
                whole one holds other leaves than `make_like` says.
        """
        damaged: dict[int, str] = {}
        for step in self._newest_first():
            try:
                meta, _ = self._read_header(step)
                state = self.restore(step, make_like(meta))
            except DamagedCheckpoint as error:
                damaged[step] = str(error)
                continue
            for bad_step, reason in damaged.items():
                with files.disk_errors(self.directory):
                    self._manager.delete(bad_step)
                on_message(
                    f"checkpoint {bad_step} is damaged ({reason}); going on from {step}"
                )
            return step, state, meta
        if damaged:
            reasons = "; ".join(f"{step}: {why}" for step, why in damaged.items())
            raise UserError(
                f"every checkpoint in {self.directory} is damaged ({reasons}); delete "
                "that directory to start the run from its beginning."
            )
        return None

    def wait(self) -> None:
        """Returns when the last save is on disk; raises `UserError` if it is not."""
        with files.disk_errors(self.directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then gives the threads back."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _newest_first(self) -> list[int]:
        self.wait()
        return sorted(self._manager.all_steps(), reverse=True)

    def _read_header(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """`meta` and `seal` of a step, after a check that they belong together."""
        json_args = ocp.args.JsonRestore()
        items = self._read(step, meta=json_args, seal=json_args)
        meta, seal = items["meta"], items["seal"]
        if not isinstance(seal, dict) or seal.get("header") != _header(meta, seal):
            raise DamagedCheckpoint("its meta differs from the one that was saved")
        return meta, seal

    def _read(self, step: int, **items: Any) -> Any:
        path = self.directory / str(step)
        with files.disk_errors(path, "read"):
            try:
                if "state" in items:
                    num_arrays = len(jax.tree.leaves(items["state"].item))
                    _read_through(path / "state", num_arrays)
                return self._manager.restore(step, args=ocp.args.Composite(**items))
            except Exception as error:
                if not _is_damage(error):
                    raise
                what = " and ".join(items)
                raise DamagedCheckpoint(f"its {what} cannot be read") from error


def _read_through(directory: Path, num_arrays: int) -> None:
    """Reads every array and description once, one by one; raises where Orbax would.

    Orbax reads all of them at the same time, and when one fails leaves the others
    behind, whose traces then turn up on stderr.
    """
    descriptions = [directory / "_METADATA", directory / "_sharding"]
    for path in [*descriptions, *directory.glob("array_metadatas/*")]:
        json.loads(path.read_bytes())
    store = {"driver": "ocdbt", "base": f"file://{directory}/"}
    keys = [key.decode() for key in ts.KvStore.open(store).result().list().result()]
    names = [key.removesuffix(".zarray") for key in keys if key.endswith("/.zarray")]
    if len(names) != num_arrays:
        raise ValueError(f"{len(names)} arrays instead of {num_arrays}")
    for name in names:
        array = {
            "driver": "zarr",
            "kvstore": {**store, "path": name},
            "fill_missing_data_reads": False,
        }
        ts.open(array).result().read().result()


def _is_damage(error: BaseException | None) -> bool:
    """Whether the files are to blame, rather than memory, permissions or a device."""
    while error is not None:
        if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
            return False
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            return error.errno == errno.EIO
        if files.disk_errno(error) is not None:
            return False
        error = error.__cause__
    return True


def check_same(saved: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    """Raises `UserError` naming every value in which two nested dicts differ.

    Args:
        saved: As it came back from JSON.
        wanted: The same before JSON: tuples, paths and dataclasses are fine.
        what: Names the owner of `saved` in the message, say "the run in runs/a".
    """
    old, new = _flatten(files.plain(saved)), _flatten(files.plain(wanted))
    absent = "absent"
    differing = [
        f"{name} is {old.get(name, absent)} there and {new.get(name, absent)} here"
        for name in [*old, *(name for name in new if name not in old)]
        if old.get(name, absent) != new.get(name, absent)
    ]
    if differing:
        raise UserError(
            f"{what} was made with other settings: {', '.join(differing)}; give the "
            "same values again or choose another run directory."
        )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted name -> JSON text of the value."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value)
    return flat


def _canonical(obj: Any) -> str:
    return json.dumps(obj, sort_keys=True, allow_nan=False)


def _seal(state: PyTree, meta: dict[str, Any]) -> dict[str, Any]:
    seal = {"leaves": _describe(state), "state": _digest(state)}
    return {**seal, "header": _header(meta, seal)}


def _header(meta: Any, seal: dict[str, Any]) -> str:
    """Digest of `meta` and of the rest of the seal."""
    parts = [meta, seal.get("leaves"), seal.get("state")]
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()


def _describe(tree: PyTree) -> dict[str, str]:
    """Path -> type and shape of every leaf, say "float32[3,4]"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }


def _check_leaves(saved: dict[str, str], wanted: dict[str, str], what: str) -> None:
    names = [*saved, *(name for name in wanted if name not in saved)]
    differing = [
        f"{name} is {saved.get(name, 'absent')} there and "
        f"{wanted.get(name, 'absent')} here"
        for name in names
        if saved.get(name) != wanted.get(name)
    ]
    if differing:
        named = ", ".join(differing[:_NUM_NAMED])
        more = len(differing) - _NUM_NAMED
        raise UserError(
            f"the checkpoint {what} holds other arrays than this run: {named}"
            f"{f' and {more} more' if more > 0 else ''}; give the settings it was made "
            "with or choose another run directory."
        )


def _digest(tree: PyTree) -> str:
    """sha256 over the path, type, shape and bytes of every leaf."""
    digest = hashlib.sha256(_canonical(_describe(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
