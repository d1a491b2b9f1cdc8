"""Checkpoints: round trip, damage, fallback, keep policy, mismatch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from drifting.core.state import TrainState
from drifting.training import checkpoints, integrity
from drifting.training.checkpoints import CheckpointError, Checkpoints, restore


def state_at(step, n=600):
    return {"w": jnp.arange(n, dtype=jnp.float32) + step, "step": jnp.asarray(step, jnp.int32)}


SHAPES = jax.eval_shape(lambda: state_at(0))


@pytest.fixture
def saved(tmp_path):
    """A folder with checkpoints of steps 0, 10 and 20."""
    store = Checkpoints(tmp_path / "checkpoints", keep=5)
    for step in (0, 10, 20):
        store.save(state_at(step), step, {"loss": 1.0 + step})
    store.close()
    return tmp_path / "checkpoints"


def largest_file(step):
    return max((f for f in step.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def test_round_trip(saved):
    state, metrics = restore(saved, 10, SHAPES)
    jax.tree.map(np.testing.assert_array_equal, state, state_at(10))
    assert metrics == {"loss": 11.0}
    assert checkpoints.valid_steps(saved) == [0, 10, 20]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda p: p.unlink()])
def test_falls_back_to_the_one_before_and_says_so(saved, damage, caplog):
    damage(largest_file(saved / "20"))
    store = Checkpoints(saved, keep=5)
    with caplog.at_level("WARNING", logger="drifting"):
        state, step, _ = store.restore_newest(SHAPES)
    assert step == 10 and state["step"] == 10
    assert "falling back to the checkpoint of step 10" in caplog.text
    (kept,) = (saved.parent / "damaged_checkpoints").iterdir()  # moved, not deleted
    assert kept.name.startswith("20_")
    store.save(state_at(20), 20, {})  # and the step can be made again
    store.close()
    assert integrity.find_damage(saved / "20") is None


def test_a_step_without_a_manifest_is_not_finished(saved):
    (saved / "20" / integrity.MANIFEST).unlink()
    assert checkpoints.valid_steps(saved) == [0, 10]
    assert Checkpoints(saved, keep=5).restore_newest(SHAPES)[1] == 10


def test_nothing_usable_is_an_error_and_nothing_at_all_is_none(saved, tmp_path):
    for step in saved.iterdir():
        if step.name.isdigit():
            truncate(largest_file(step))
    with pytest.raises(CheckpointError, match=r"no usable checkpoint.*\(20: .*; 0: "):
        Checkpoints(saved).restore_newest(SHAPES)
    assert Checkpoints(tmp_path / "empty").restore_newest(SHAPES) is None


def test_keep_policy(tmp_path):
    store = Checkpoints(tmp_path, keep=2, keep_every=20)
    for step in range(0, 70, 10):
        store.save(state_at(step), step, {})
    store.close()
    assert checkpoints.valid_steps(tmp_path) == [0, 20, 40, 50, 60]


@pytest.mark.parametrize(
    "shapes",
    [
        jax.eval_shape(lambda: state_at(0, n=5)),
        {**SHAPES, "more": jax.ShapeDtypeStruct((2,), jnp.float32)},
    ],
)
def test_a_state_of_another_model_is_refused(saved, shapes):
    with pytest.raises(CheckpointError, match="does not fit this model"):
        restore(saved, 20, shapes)


def test_a_later_donation_does_not_reach_what_is_being_saved(tmp_path):
    """Saving is asynchronous while the loop donates the state's buffers to the next step."""
    store = Checkpoints(tmp_path, keep=5)
    state = jax.device_put(state_at(0, n=2_000_000))
    bump = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    for step in range(3):
        store.save(state, step, {})
        for _ in range(5):
            state = bump(state)
    store.close()
    shapes = jax.eval_shape(lambda: state_at(0, n=2_000_000))
    for step in range(3):
        restored, _ = restore(tmp_path, step, shapes)
        np.testing.assert_array_equal(restored["w"][:3], np.arange(3) + 5.0 * step)
        np.testing.assert_array_equal(restored["w"][-3:], np.arange(-3, 0) + 2e6 + 5.0 * step)


def networks(**sizes):
    """A state at step 0 with a network of each name and size."""
    params = {name: {"kernel": jnp.full((n, 3), float(n))} for name, n in sizes.items()}
    optimizers, decays = ({name: of for name in sizes} for of in (optax.adam(1e-3), 0.9))
    return TrainState.create(params, optimizers, decays)


@pytest.mark.parametrize(
    ("saved_sizes", "wanted_sizes", "restored"),
    [
        (dict(generator=4, field=2), dict(generator=4, field=2), {"generator", "field"}),
        (dict(generator=4), dict(generator=4, field=2), {"generator"}),  # not saved
        (dict(generator=4, field=5), dict(generator=4, field=2), {"generator"}),  # other shapes
        (dict(generator=4, field=2), dict(generator=4), {"generator"}),  # not wanted
    ],
)
def test_an_optional_network_need_not_agree(tmp_path, saved_sizes, wanted_sizes, restored):
    store = Checkpoints(tmp_path / "checkpoints")
    store.save(networks(**saved_sizes), 0, {})
    store.close()
    shapes = jax.eval_shape(lambda: networks(**wanted_sizes))
    folder = tmp_path / "checkpoints"
    state, _ = restore(folder, 0, shapes, optional=("field",))
    for part in (state.params, state.ema_params, state.opt_state):
        assert part.keys() == restored
    np.testing.assert_array_equal(state.params["generator"]["kernel"], np.full((4, 3), 4.0))
    jax.tree.map(np.testing.assert_array_equal, state.opt_state["generator"],
                 networks(generator=4).opt_state["generator"])  # fmt: skip
    if saved_sizes != wanted_sizes:  # not declared optional, the difference is an error
        with pytest.raises(CheckpointError, match="does not fit"):
            restore(folder, 0, shapes)


def test_no_other_network_may_differ(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints")
    store.save(networks(generator=4, field=2), 0, {})
    store.close()
    folder = tmp_path / "checkpoints"
    for wanted in (dict(generator=5), dict(generator=5, field=2), dict(generator=4, other=2)):
        shapes = jax.eval_shape(lambda sizes=wanted: networks(**sizes))
        with pytest.raises(CheckpointError, match="does not fit"):
            restore(folder, 0, shapes, optional=("field",))
