import dataclasses
import errno
import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrow.errors import UserError
from jaxgrow.training.checkpoint import Checkpointer, DamagedCheckpoint, check_same


class Moments(NamedTuple):
    mu: dict
    count: jax.Array


def make_state(seed=0, width=4):
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "r4_down": {"kernel": jax.random.normal(keys[0], (3, 3, width))},
        "r8_up": {"kernel": jax.random.normal(keys[1], (width,), jnp.bfloat16)},
    }
    return {
        "params": params,
        "opt": Moments({"k": jax.random.normal(keys[2], (2, 2))}, jnp.int32(seed)),
        "empty": (),
        "none": None,
        "key": jax.random.key(seed),
    }


def assert_bit_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def saved(directory, steps=(1, 2, 3), **options):
    checkpointer = Checkpointer(directory, **options)
    for step in steps:
        checkpointer.save(step, make_state(step), {"stage": 8, "step": step})
    checkpointer.wait()
    return checkpointer


def data_files(step_directory):
    """Every file whose bytes matter, largest first."""
    found = [p for p in step_directory.rglob("*") if p.is_file() and p.stat().st_size]
    return sorted(found, key=lambda p: -p.stat().st_size)


def test_arrays_of_every_kind_come_back_bit_for_bit(tmp_path):
    state = make_state(7)
    state["odd"] = jnp.array([jnp.nan, -0.0, jnp.inf, 1e-45], jnp.float32)
    state["scalar"], state["flag"] = jnp.uint8(3), jnp.array([True, False])
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, state, {})
    assert_bit_equal(checkpointer.restore(1, state), state)
    assert_bit_equal(checkpointer.restore(1, jax.eval_shape(lambda: state)), state)
    checkpointer.close()


def test_an_optax_state_comes_back_and_another_optimiser_is_refused(tmp_path):
    params = make_state()["params"]
    adam = optax.adam(1e-3).init(params)
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, {"opt": adam}, {})
    assert_bit_equal(checkpointer.restore(1, {"opt": adam}), {"opt": adam})
    with pytest.raises(UserError, match=r"\['opt'\].*\.mu.*absent here.* more"):
        checkpointer.restore(1, {"opt": optax.sgd(1e-3).init(params)})
    checkpointer.close()


def test_meta_keeps_every_float_to_the_last_bit(tmp_path):
    meta = {"fade": 0.1 + 0.2, "tiny": 5e-324, "big": 1.7976931348623157e308, "n": 1}
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(12, make_state(), meta)
    latest = checkpointer.latest_meta()
    assert latest is not None
    step, back = latest
    assert (step, back) == (12, meta)
    assert {k: type(v) for k, v in back.items()} == {
        k: type(v) for k, v in meta.items()
    }
    checkpointer.close()


@pytest.mark.parametrize("meta", [{"a": (1, 2)}, {"a": {1: 2}}, {"a": float("nan")}])
def test_meta_that_json_would_change_is_refused(tmp_path, meta):
    checkpointer = Checkpointer(tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        checkpointer.save(1, make_state(), meta)
    checkpointer.close()


def test_an_empty_directory_has_nothing_to_restore(tmp_path):
    checkpointer = Checkpointer(tmp_path / "new" / "run")
    assert checkpointer.latest_meta() is None
    assert checkpointer.restore_latest(lambda meta: {}, pytest.fail) is None
    checkpointer.close()


def test_only_the_newest_stay_and_a_new_process_sees_them(tmp_path):
    saved(tmp_path, (1, 5, 10, 1000), keep=2).close()
    again = Checkpointer(tmp_path)
    assert again.latest_meta() == (1000, {"stage": 8, "step": 1000})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "1000"]
    again.close()


def test_arrays_donated_right_after_save_do_not_harm_the_checkpoint(tmp_path):
    update = jax.jit(lambda x: x * -3.0 + 1.0, donate_argnums=0)
    state = jnp.arange(300_000, dtype=jnp.float32)
    checkpointer, expected = Checkpointer(tmp_path, keep=20), {}
    for step in range(8):
        expected[step] = np.array(state)
        checkpointer.save(step, {"x": state}, {})
        state = update(state)
    for step, x in expected.items():
        restored = checkpointer.restore(
            step, {"x": jax.ShapeDtypeStruct(x.shape, "f4")}
        )
        np.testing.assert_array_equal(restored["x"], x)
    checkpointer.close()


def test_restored_arrays_take_the_sharding_of_like(tmp_path):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("batch",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state = {"x": jax.device_put(jnp.arange(4.0), everywhere)}
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, state, {})
    assert checkpointer.restore(1, state)["x"].sharding == everywhere
    alone = jax.ShapeDtypeStruct((4,), jnp.float32)
    assert len(checkpointer.restore(1, {"x": alone})["x"].devices()) == 1
    checkpointer.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s["params"].pop("r4_down"), r"r4_down.*float32\[3,3,4\] there"),
        (lambda s: s.update(new=jnp.ones(2)), r"new.*absent there and float32\[2\]"),
        (lambda s: s.update(opt=tuple(s["opt"])), r"opt"),
        (lambda s: s.update(key=jnp.ones(2)), r"key.*key<fry>"),
    ],
)
def test_other_leaves_are_refused_by_name_and_nothing_is_deleted(
    tmp_path, change, named
):
    checkpointer = saved(tmp_path)
    like = make_state()
    change(like)
    with pytest.raises(UserError, match=named):
        checkpointer.restore(3, like)
    with pytest.raises(UserError, match=named):
        checkpointer.restore_latest(lambda meta: like, pytest.fail)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "3"]
    checkpointer.close()


def test_saving_a_step_again_is_fine_if_nothing_changed(tmp_path):
    checkpointer = saved(tmp_path)
    checkpointer.save(3, make_state(3), {"stage": 8, "step": 3})
    with pytest.raises(ValueError, match="step 3 is saved already"):
        checkpointer.save(3, make_state(4), {"stage": 8, "step": 3})
    checkpointer.close()


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE = {
    "flipped bit": flip,
    "cut short": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "emptied": lambda p: p.write_bytes(b""),
    "deleted": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_file_is_damaged_the_state_is_right_or_the_damage_is_said(
    tmp_path, damage
):
    saved(tmp_path, (1, 2)).close()
    for path in data_files(tmp_path / "2"):
        pristine = path.read_bytes()
        DAMAGE[damage](path)
        checkpointer = Checkpointer(tmp_path)
        try:
            assert_bit_equal(checkpointer.restore(2, make_state()), make_state(2))
        except DamagedCheckpoint:
            pass
        finally:
            checkpointer.close()
            if (tmp_path / "2").exists():
                path.write_bytes(pristine)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path):
    saved(tmp_path).close()
    for path in data_files(tmp_path / "3" / "state"):
        if path.parent.name == "d":
            flip(path)
    (tmp_path / "2" / "meta" / "metadata").write_text('{"stage": 8, "step":')
    messages = []
    checkpointer = Checkpointer(tmp_path)
    latest = checkpointer.restore_latest(lambda meta: make_state(), messages.append)
    assert latest is not None
    step, state, meta = latest
    assert (step, meta) == (1, {"stage": 8, "step": 1})
    assert_bit_equal(state, make_state(1))
    assert [m.split(" (")[0] for m in messages] == [
        "checkpoint 3 is damaged",
        "checkpoint 2 is damaged",
    ]
    assert all(m.endswith("; going on from 1") for m in messages)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1"]
    checkpointer.save(3, make_state(5), {})
    checkpointer.close()


def test_if_all_are_damaged_that_is_said_and_they_stay(tmp_path):
    saved(tmp_path).close()
    for step in (1, 2, 3):
        flip(tmp_path / str(step) / "seal" / "metadata")
    checkpointer = Checkpointer(tmp_path)
    assert checkpointer.latest_meta() is None
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged .*delete"):
        checkpointer.restore_latest(lambda meta: make_state(), pytest.fail)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "3"]
    checkpointer.close()


def test_a_meta_of_another_config_is_refused_before_the_arrays_are_read(tmp_path):
    checkpointer = saved(tmp_path)

    def make_like(meta):
        check_same(meta, {"stage": 16, "step": meta["step"]}, "the run in runs/a")

    with pytest.raises(UserError, match="stage is 8 there and 16 here"):
        checkpointer.restore_latest(make_like, pytest.fail)
    checkpointer.close()


def test_check_same_names_every_differing_key_with_both_values():
    @dataclasses.dataclass
    class Net:
        width: int = 27
        kernel_sizes: tuple = (1, 3, 5)

    saved = json.loads('{"net": {"width": 27, "kernel_sizes": [1, 3, 5]}, "a": 0.1}')
    check_same(saved, {"net": Net(), "a": 0.1}, "x")
    with pytest.raises(UserError) as error:
        check_same(saved, {"net": Net(width=32), "b": Path("c")}, "the run in runs/a")
    assert str(error.value).startswith(
        "the run in runs/a was made with other settings: net.width is 27 there and "
        '32 here, a is 0.1 there and absent here, b is absent there and "c" here; '
    )


@pytest.fixture
def small_files_only():
    """A real refusal of the kernel (EFBIG) for files of more than 64 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.filterwarnings("ignore:Exception ignored in")  # threads of Orbax
def test_a_disk_that_refuses_is_one_sentence_and_older_checkpoints_stay(
    tmp_path, small_files_only
):
    checkpointer = saved(tmp_path, (1, 2))
    big = {"x": jax.random.normal(jax.random.key(0), (100_000,))}
    small_files_only()
    checkpointer.save(3, big, {})
    with pytest.raises(UserError, match=r"cannot write .*: file too large; raise"):
        checkpointer.wait()
    assert checkpointer.latest_meta() == (2, {"stage": 8, "step": 2})
    checkpointer.save(4, big, {})
    with pytest.raises(UserError, match="file too large"):
        checkpointer.save(5, big, {})
    assert_bit_equal(checkpointer.restore(2, make_state()), make_state(2))
    checkpointer.close()


def test_a_save_that_would_not_fit_is_refused_before_it_begins(tmp_path, monkeypatch):
    checkpointer = saved(tmp_path, (1,))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    checkpointer.save(2, make_state(2), {})
    with pytest.raises(UserError, match=r"needs 5.8 MiB and 3.0 are left; free some"):
        checkpointer.save(3, {"x": jnp.ones(1_000_000)}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    checkpointer.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch, code):
    def refuse(*args, **kwargs):
        raise OSError(code, "refused")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/run: .*; "):
        Checkpointer(tmp_path / "run")


def test_a_file_in_place_of_the_directory_is_one_sentence(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Checkpointer(tmp_path / "run")


SAVER = """
import sys
from pathlib import Path
import jax.numpy as jnp
from jaxgrow.training.checkpoint import Checkpointer

checkpointer = Checkpointer(Path(sys.argv[1]))
start = checkpointer.latest_meta()
step = start[0] if start else 0
while True:
    step += 1
    state = {f"leaf_{i}": jnp.full((200, 50), step + i, "float32") for i in range(8)}
    checkpointer.save(step, state, {"step": step})
    print(step, flush=True)
"""


def kill_a_saver(directory, wait_s):
    """Starts a process that saves in a loop; kills it `wait_s` after its 4th save."""
    command = [sys.executable, "-c", SAVER, str(directory)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        for _ in range(4):
            line = process.stdout.readline()
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        return int(line)


def check_after_kill(directory, reached):
    checkpointer = Checkpointer(directory)
    like = {f"leaf_{i}": jax.ShapeDtypeStruct((200, 50), jnp.float32) for i in range(8)}
    latest = checkpointer.restore_latest(lambda meta: like, pytest.fail)
    assert latest is not None
    step, state, meta = latest
    assert meta == {"step": step}
    assert step >= reached - 1  # the save announced last may still have been running
    for i in range(8):
        np.testing.assert_array_equal(state[f"leaf_{i}"], step + i)
    checkpointer.close()


def test_a_kill_during_a_save_leaves_the_checkpoint_before_it(tmp_path):
    check_after_kill(tmp_path, kill_a_saver(tmp_path, 0.013))


@pytest.mark.slow
def test_kills_at_random_moments_of_one_run_never_lose_a_finished_save(tmp_path):
    draw = random.Random(0)
    for _ in range(8):
        check_after_kill(tmp_path, kill_a_saver(tmp_path, draw.uniform(0.0, 0.2)))
