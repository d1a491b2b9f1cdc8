"""What a call may ask of scores, and what is refused before anything is scored."""

import pytest

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation.settings import ScoreSettings


@pytest.mark.parametrize(
    "changed,message",
    [
        (dict(num_samples=1), "num_samples = 1 and batch_size = 256: a score needs two samples"),
        (dict(batch_size=0), "num_samples = 50000 and batch_size = 0"),
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
