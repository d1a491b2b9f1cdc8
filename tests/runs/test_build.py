"""The parts of a run, built from a config."""

import drifting
from drifting.runs.build import load_images


def test_parts_are_what_a_run_is_made_of(small_config):
    parts = drifting.build(small_config(**{"data.num_val": 100}))
    assert len(parts.data) + len(parts.held_out) == len(parts.whole) == 1497
    assert parts.facts.num_samples == len(parts.data) == 1397
    assert sum(parts.facts.class_counts) == 1397
    assert parts.method.facts is parts.facts and parts.parameters == {}
    assert (parts.schedule.total, parts.mesh.size) == (12, 1)


def test_a_run_on_less_data_holds_that_many_samples(small_config):
    parts = drifting.build(small_config(**{"data.limit": 200, "data.num_val": 50}))
    assert (len(parts.whole), len(parts.data), len(parts.held_out)) == (200, 150, 50)
    assert parts.facts.num_samples == 150 and parts.facts.class_counts == (15,) * 10
    assert load_images(parts.config).fingerprint == parts.whole.fingerprint
    assert len(load_images(parts.config, "test")) == 300  # as without a limit
