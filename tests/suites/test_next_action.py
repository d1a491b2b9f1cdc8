"""What a suite does with the folder of a run that it finds."""

import pytest

from drifting.suites import folder


@pytest.mark.parametrize(
    ("files", "action"),
    [
        ([], "start"),
        (["config.json"], "restart"),
        (["checkpoints/0.tmp/manifest.json"], "restart"),  # killed just before it got its name
        (["checkpoints/0/state/d"], "restart"),
        (["checkpoints/200/manifest.json", "checkpoints/400.tmp/state/d"], "resume"),
    ],
)
def test_only_a_finished_checkpoint_is_resumed(tmp_path, files, action):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert folder.next_action(tmp_path) == action
