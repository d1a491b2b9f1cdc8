"""The parts of a run, built from a config."""

import drifting


def test_parts_are_what_a_run_is_made_of(small_config):
    parts = drifting.build(small_config(**{"data.num_val": 100}))
    assert len(parts.data) + len(parts.held_out) == len(parts.whole) == 1497
    assert parts.facts.num_samples == len(parts.data) == 1397
    assert sum(parts.facts.class_counts) == 1397
    assert parts.method.facts is parts.facts and parts.parameters == {}
    assert (parts.schedule.total, parts.mesh.size) == (12, 1)
