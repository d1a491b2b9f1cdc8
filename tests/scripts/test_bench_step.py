"""The comparison of a step with that of the CUT release."""

import jax.numpy as jnp
import pytest
import script_modules

from configs import base
from drifting.core.errors import UserError

bench = script_modules.load("bench_step")


def test_only_the_networks_of_the_release_are_compared():
    config = base.of("cut")
    config.model.blocks = 6
    with pytest.raises(UserError, match="config.model.blocks = 6, but the release has 9; set that"):
        bench.release_step(config, (32, 32, 3))
    with pytest.raises(UserError, match="only the step of method 'cut'"):
        bench.release_step(base.of("classifier"), (32, 32, 3))


def test_steps_take_turns_and_the_first_round_is_a_warm_up(monkeypatch):
    order, clock = [], [0.0]
    monkeypatch.setattr(bench.timing.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(bench, "CALLS", type("Calls", (), {"value": 2}))

    def call(name, seconds):
        def run():
            order.append(name)
            clock[0] += seconds * (10 if len(order) <= 2 else 1)
            return jnp.zeros(())

        return run

    times = bench.time_steps({"ours": (call("a", 2.0), 4), "release": (call("b", 1.5), 1)})
    assert order == ["a", "b"] * 3
    assert times == {"ours": [0.5, 0.5], "release": [1.5, 1.5]}
    report = bench.compared(base.of("cut"), {"threads": 2}, times["ours"], times["release"])
    assert report["release_to_ours"] == 3.0
    assert report["release"] == {
        "threads": 2, "step_ms": 1500.0, "step_ms_min": 1500.0, "step_ms_max": 1500.0,
    }  # fmt: skip
    assert report["objective"] == (
        "hinge; PatchNCE of the source domain; L1 of the identity; R1 every 16 steps"
    )
