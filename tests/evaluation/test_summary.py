"""The line of text for a row has each metric that was measured, and no other."""

from drifting.evaluation import summary

ROW = {"step": 40, "features": "pixels", "fid_mode": "", "eval_seconds": 2.04}


def test_only_what_was_measured_is_printed():
    assert summary.one_line(ROW) == "step 40, 2.0 s"
    assert summary.one_line(ROW | {"frechet_distance": 1.5}) == (
        "step 40, Frechet distance (pixels) 1.5, 2.0 s"
    )


def test_the_sampler_and_deviations_are_printed():
    row = ROW | {"sampler": "euler-3", "nfe": 6, "kid": 0.25, "kid_std": 0.031, "recall": 0.5,
                 "energy_distance": 0.7, "energy_distance_real": 0.02}  # fmt: skip
    assert summary.one_line(row) == (
        "step 40, euler-3 at 6 NFE, kid 0.25 +- 0.031, recall 0.5, "
        "energy distance 0.7 (of real sets: 0.02), 2.0 s"
    )
