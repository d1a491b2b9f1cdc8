"""What a suite does with the folder of a run that it finds."""

import pytest

from drifting.suites import SuiteError, folder


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


def test_removed_checkpoints_are_remembered_and_links_are_left(tmp_path):
    run, linked, target = (tmp_path / name for name in ("run", "linked", "target"))
    for path in (run / "checkpoints/20", target / "20", linked):
        path.mkdir(parents=True)
    (linked / "checkpoints").symlink_to(target)
    for workdir in (run, linked):
        folder.remove_checkpoints(workdir)
    assert not (run / "checkpoints").exists() and (target / "20").is_dir()
    folder.require_not_removed(linked)
    with pytest.raises(SuiteError, match="run lacks scores, and .* move this folder away to train"):
        folder.require_not_removed(run)
