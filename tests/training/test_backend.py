"""The flags that XLA starts with."""

import jaxlib.version
import pytest

from drifting.training import backend

OURS = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,"
OURS += "LIBRARY_FUSION_TYPE_REDUCE"


@pytest.fixture
def version(monkeypatch):
    return lambda *info: monkeypatch.setattr(jaxlib.version, "__version_info__", info)


def test_the_library_is_kept_from_convolutions_and_the_user_s_flags_stay(version):
    version(0, 10, 2)
    assert backend.xla_flags("", deterministic=False) == OURS
    assert backend.xla_flags("--xla_dump_to=/tmp/x", deterministic=False) == (
        f"--xla_dump_to=/tmp/x {OURS}"
    )
    chosen = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_REDUCE"
    assert backend.xla_flags(chosen, deterministic=False) == chosen
    assert backend.xla_flags(OURS, deterministic=False) == OURS, "set twice"


def test_another_version_may_not_know_the_flag(version):
    version(0, 11, 0)
    assert backend.xla_flags("", deterministic=False) == ""
    assert backend.xla_flags("", deterministic=True).split() == list(backend.DETERMINISTIC_GPU)
