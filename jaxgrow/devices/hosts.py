"""Several processes that train one run together.

All of them run the same command and take every training step. The first one writes
everything but the checkpoints. JAX's coordination service, which lives in the first
process, ends all of them when one dies.
"""

import atexit
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Count, Natural


_HEARTBEAT_S = 30  # silence after which a process counts as dead
_LAST_S = 7 * 24 * 3600  # limit of waits for the first process

_waits = itertools.count()

# The coordination service ends a process before it could print anything.
_SAY_UNLESS_DONE = """
import sys
if sys.stdin.read() != "done":
    print(sys.argv[1], file=sys.stderr)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostsConfig(Checked):
    """The processes of a run over several hosts; one process by default."""

    join: bool = False
    """Train together with the other processes of the job. SLURM, Open MPI, Kubernetes
    and Cloud TPU identify them; elsewhere give the next three fields together."""
    coordinator: str | None = None
    """Address of process 0 with a free port, say 10.0.0.1:1234."""
    num_processes: Count | None = None
    """Number of processes."""
    process_id: Natural | None = None
    """Index of this process, from 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = (self.coordinator, self.num_processes, self.process_id)
        if None in given and given != (None, None, None):
            raise UserError(
                "give hosts.coordinator, hosts.num_processes and hosts.process_id "
                "together, or hosts.join alone."
            )
        if (self.process_id or 0) >= (self.num_processes or 1):
            raise UserError(
                f"hosts.process_id {self.process_id} must be below "
                f"hosts.num_processes {self.num_processes}: they count from 0."
            )


def join(config: HostsConfig) -> None:
    """Meet the other processes, if there are any, before JAX touches a device.

    Raises:
        UserError: Nothing identifies the others, or they did not come.
    """
    is_told = config.coordinator is not None
    if not (config.join or is_told) or jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.num_processes,
            config.process_id,
            cluster_detection_method="deactivate" if is_told else None,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
            shutdown_timeout_seconds=_LAST_S,
        )
    except ValueError as error:
        raise UserError(
            "hosts.join finds no SLURM, Open MPI, Kubernetes or Cloud TPU here: give "
            "hosts.coordinator, hosts.num_processes and hosts.process_id."
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"the processes of the run did not meet ({error}): start all of them "
            "within five minutes."
        ) from error
    # A program from one process's cache would not be tuned together with the others.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_enable_compilation_cache", False)
    # JAX now ignores SIGTERM, which must end the process outside of training.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _speak_if_ended()


def _speak_if_ended() -> None:
    me = f"process {jax.process_index()} of {jax.process_count()}"
    sentence = (
        f"stopped: {me} has ended because it or another one died; start all of them "
        "again and the run goes on from its last checkpoint."
    )
    command = [sys.executable, "-S", "-c", _SAY_UNLESS_DONE, sentence]
    speaker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(speaker.communicate, b"done")


def leave(status: int, *, together: bool) -> None:
    """Wait for the other processes if they end too, or end at once with `status`.

    A process that failed alone must not wait for others that wait for it in a training
    step.
    """
    if not are_several():
        return
    if together:
        jax.distributed.shutdown()
    else:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def are_several() -> bool:
    """True if this process has joined others."""
    return jax.distributed.is_initialized()


def is_first() -> bool:
    """True if this process writes logs, pictures and reports."""
    return jax.process_index() == 0


def wait() -> None:
    """Return when all processes have called it, up to a week later.

    It does not use the devices, whose collectives time out after minutes.
    """
    if jax.process_count() == 1:
        return
    from orbax.checkpoint import multihost  # takes a second to import

    meet = multihost.get_barrier_sync_fn()
    try:
        meet(key=f"jaxgrow {next(_waits)}", timeout_ms=1000 * _LAST_S)
    except jax.errors.JaxRuntimeError:  # another one died
        leave(1, together=False)


def first_says(answers: Sequence[bool]) -> list[bool]:
    """Return the first process's answers; all processes must ask the same questions.

    Files may differ between processes, and so must not decide their common steps.
    """
    return from_first(np.array(answers, bool)).tolist()


def largest(number: int) -> int:
    """Return the largest number of all processes; every process must call it."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def from_first(tree: PyTree) -> PyTree:
    """Return the first process's arrays; all processes must give the same shapes.

    Results that every process computes for itself may differ in the last bits.
    """
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree))
