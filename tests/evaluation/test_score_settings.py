"""What a call may ask of scores, and what is refused before anything is scored."""

import pytest

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation.settings import ScoreSettings


@pytest.mark.parametrize(
    "changed,message",
    [
        (dict(num_samples=1), r"config.eval.num_samples \(--num_samples\) = 1: a score needs two"),
        (dict(batch_size=0), r"config.eval.batch_size \(--batch_size\) = 0: must be 1 or more"),
        (dict(cfg_scale=float("nan")), "cfg_scale.* = nan: must be a finite number"),
        (dict(seed=-1), "seed.* = -1: must be at least 0 and less than 2"),
        (dict(seed=2**32), "seed.* = 4294967296: must be at least 0"),
        (dict(save_samples=True, cleanup_samples=True), "exclude each other"),
    ],
)
def test_what_cannot_be_is_refused(changed, message):
    ScoreSettings().check()
    with pytest.raises(ConfigError, match=message):
        ScoreSettings(**changed).check()


def test_a_config_has_no_key_that_only_a_call_can_ask_for():
    section = drifting.of("meanflow").eval
    assert "num_samples" in section
    assert not {"ema", "save_samples", "cleanup_samples", "statistics"} & set(section)
