"""Saving and restoring over Orbax."""

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jaxgrow.devices import hosts
from jaxgrow.errors import UserError
from jaxgrow.storage import files
from jaxgrow.training.checkpoint.compare import check_leaves
from jaxgrow.training.checkpoint.disk import (
    check_space,
    is_damage,
    make_alias,
    read_through,
)
from jaxgrow.training.checkpoint.seal import (
    canonical,
    describe_leaves,
    digest_of,
    header_of,
    make_seal,
)


class DamagedCheckpoint(UserError):
    """The files of a checkpoint cannot be read, or are not what was written."""


class Checkpointer:
    """Saves and restores a tree of arrays together with a JSON `meta`.

    A save runs in the background. The saved arrays may be donated at once. A process
    killed during a save leaves the earlier checkpoints as they were, and so does a
    power cut: a save begins when the one before is on the disk. An error of the disk
    is raised by `wait` at the latest, as a `UserError`.

    Args:
        directory: Made if absent.
        keep: How many of the newest checkpoints stay.
    """

    def __init__(self, directory: Path, *, keep: int = 3):
        # Orbax logs every error that it also raises, with the traces of its threads.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.directory = directory.absolute()
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(keep),
            # Where the thread that makes the directories fails, the threads that
            # wait for them keep the process from ending for ten minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        with files.disk_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._alias = make_alias(self.directory)
            self._root = self.directory
            if self._alias is not None:
                self._root = Path(self._alias.name) / "to"
            self._manager = self._open()
            self._on_disk = set(self._manager.all_steps())

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Start to save `state`; return as soon as its arrays may be donated.

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
        if json.loads(canonical(meta)) != meta:
            raise ValueError(f"meta does not survive a trip through JSON: {meta}")
        self.wait()
        seal = make_seal(step, state, meta)
        if step in self._manager.all_steps():
            if self._read_header(step)[1]["state"] == seal["state"]:
                return
            raise ValueError(f"step {step} is saved already, with other arrays")
        check_space(self.directory, sum(x.nbytes for x in jax.tree.leaves(state)))
        with self._writing():
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
        """Return step and `meta` of the newest checkpoint whose `meta` can be read."""
        for step in self._newest_first():
            try:
                return step, self._read_header(step)[0]
            except DamagedCheckpoint:
                continue
        return None

    def restore(self, step: int, like: PyTree) -> PyTree:
        """Return the arrays saved at `step`, bit for bit.

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
        check_leaves(seal["leaves"], describe_leaves(like), self.directory / str(step))
        args = ocp.args.StandardRestore(jax.tree.map(_target, like))
        state = self._read(step, state=args)["state"]
        if digest_of(state) != seal["state"]:
            raise DamagedCheckpoint("its arrays differ from those that were saved")
        return state

    def restore_latest(
        self,
        make_like: Callable[[dict[str, Any]], PyTree],
        on_message: Callable[[str], None],
    ) -> tuple[int, PyTree, dict[str, Any]] | None:
        """Return step, arrays and `meta` of the newest checkpoint that is whole.

        Damaged ones that are newer are deleted, each with a message. None if nothing
        was saved yet.

        Args:
            make_like: From `meta` to the `like` of `restore`. A `UserError` it raises,
                say for another config, ends the search and deletes nothing.
            on_message: Takes one sentence for every checkpoint passed over.

        Raises:
            UserError: Every checkpoint is damaged (all of them stay), or the newest
                whole one holds other leaves than `make_like` says, or was renamed.
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
        """Wait until the last save is on disk; raise `UserError` if it cannot be."""
        with self._writing():
            self._manager.wait_until_finished()
            for step in set(self._manager.all_steps()) - self._on_disk:
                files.sync_tree(self._root / str(step))
                self._on_disk.add(step)

    def close(self) -> None:
        """Wait, then release the threads."""
        try:
            self.wait()
        finally:
            self._manager.close()
            if self._alias is not None:
                self._alias.cleanup()

    def _open(self) -> ocp.CheckpointManager:
        """Return a manager without history; remove the remains of a broken save.

        Orbax would remove them in a thread that outlives `close`, so that two managers
        of one directory, opened one after the other, get in each other's way.
        """
        if hosts.is_first():
            for remains in self.directory.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
                shutil.rmtree(remains)
        return ocp.CheckpointManager(self._root, options=self._options)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with files.disk_errors(self.directory):
            try:
                yield
            except Exception:
                # A manager whose save failed may raise the error once more from a
                # later call, even from one that only reads.
                with contextlib.suppress(Exception):
                    self._manager.close()
                with contextlib.suppress(Exception):
                    self._manager = self._open()
                raise

    def _newest_first(self) -> list[int]:
        self.wait()
        return sorted(self._manager.all_steps(), reverse=True)

    def _read_header(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return `meta` and `seal` of a step, checked to belong together.

        Raises:
            UserError: The folder was renamed.
            DamagedCheckpoint: They are not what was written.
        """
        json_args = ocp.args.JsonRestore()
        items = self._read(step, meta=json_args, seal=json_args)
        meta, seal = items["meta"], items["seal"]
        if not isinstance(seal, dict) or seal.get("header") != header_of(meta, seal):
            raise DamagedCheckpoint("its meta differs from the one that was saved")
        if seal["step"] != step:
            raise UserError(
                f"{self.directory / str(step)} holds the checkpoint of step "
                f"{seal['step']}: give the folder its old name, {seal['step']}."
            )
        return meta, seal

    def _read(self, step: int, **items: Any) -> Any:
        path = self._root / str(step)
        with files.disk_errors(self.directory / str(step), "read"):
            try:
                if "state" in items:
                    num_arrays = len(jax.tree.leaves(items["state"].item))
                    read_through(path / "state", num_arrays)
                return self._manager.restore(step, args=ocp.args.Composite(**items))
            except Exception as error:
                if not is_damage(error):
                    raise
                what = " and ".join(items)
                raise DamagedCheckpoint(f"its {what} cannot be read") from error


def _target(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
