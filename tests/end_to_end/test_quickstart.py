"""What the README promises about the quickstart. It takes minutes: run it with -m slow."""

import csv

import pytest

import drifting
from configs import digits


@pytest.mark.slow
def test_digits_are_learned_and_not_copied(tmp_path):
    config = digits.get_config()
    config.mesh.data = 1
    drifting.train(config, tmp_path)
    drifting.evaluate(tmp_path, "0,1500")
    with open(tmp_path / "eval" / "fid_metrics.csv") as file:
        first, last = csv.DictReader(file)
    assert float(last["num_samples"]) == 1000
    assert float(first["frechet_distance"]) > 10 * float(last["frechet_distance"])
    assert float(last["knn_accuracy"]) >= 0.95
    # Copies would be at distance 0; held-out real digits show which distance is natural.
    assert float(last["nn_distance_samples"]) > 0.7 * float(last["nn_distance_heldout"])
