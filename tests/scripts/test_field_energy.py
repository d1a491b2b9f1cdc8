"""Energy distances before and after steps of a learned field and of kernel fields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import script_modules

import drifting
from drifting.runs.build import load_images
from drifting.runs.workdir import WorkdirError

field_energy = script_modules.load("field_energy")


def test_a_summary_names_the_best_temperature():
    temperatures = field_energy.TEMPERATURES
    values = np.ones((2, 1, 2 + len(temperatures)))
    values[:, 0, 1] = 0.2, 0.6  # the learned step, in two draws
    values[:, 0, 4] = 0.3, 0.5
    (feature,) = field_energy.summarize(values)
    assert feature["before"] == {"mean": 1.0, "std": 0.0}
    assert feature["best_temperature"] == temperatures[2]
    assert feature["best_kernel"]["mean"] == pytest.approx(0.4)
    assert feature["by_temperature"][temperatures[0]] == 1.0
    assert feature["learned_wins"] == 0.5


@pytest.mark.slow
def test_steps_of_a_run_are_of_equal_length_and_bring_it_nearer(small_config, tmp_path):
    config = small_config(**{"method.field": "learned", "method.num_generated": 16})
    drifting.train(config, tmp_path / "run")
    run = field_energy.open_run(tmp_path / "run")
    state, step = run.restore_last()
    assert step == 12 and "field" in state.params
    images, test_images = (load_images(run.config, split) for split in ("train", "test"))
    draw = field_energy.make_draw(run.method, images, test_images, held_out=10)
    before, learned, *kernels = draw(state, run.frozen, jax.random.key(0))[0]
    assert len(kernels) == len(field_energy.TEMPERATURES)
    assert np.all(np.isfinite([before, learned, *kernels])) and min(kernels) < before
    # A field that does not move the samples does not change the distance.
    still = jax.tree.map(jnp.zeros_like, state.params["field"])
    still = state.replace(params=state.params | {"field": still})
    found = draw(still, run.frozen, jax.random.key(0))[0]
    np.testing.assert_allclose(found[1], before, rtol=1e-5)


@pytest.mark.slow
def test_a_run_without_a_learned_field_is_refused(finished_run):
    with pytest.raises(WorkdirError, match="has no learned field"):
        field_energy.open_run(finished_run)
