"""The folder of a run: which ones are refused, and what is left in them."""

import pytest

import drifting
from drifting.core.errors import ConfigError
from drifting.runs.sampled import Sampled
from drifting.runs.workdir import WorkdirError
from input_pipeline.sources import DataError


@pytest.mark.parametrize("left", ["notes.txt", "config.json", "checkpoints/4/state/d"])
def test_files_without_a_checkpoint_are_never_started_over(small_config, tmp_path, left):
    path = tmp_path / left
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(WorkdirError, match="holds files but no finished checkpoint"):
        drifting.train(small_config(), tmp_path)
    assert path.read_text() == "mine"


def test_another_model_or_data_set_is_refused_with_its_keys(run_copy, small_config):
    before = (run_copy / "config.json").read_bytes()
    changed = small_config(**{"model.num_registers": 5, "data.flip": True})
    with pytest.raises(ConfigError) as error:
        drifting.train(changed, run_copy)
    assert "config.model.num_registers: 4 -> 5" in str(error.value)
    assert "config.data.flip: False -> True" in str(error.value)
    assert (run_copy / "config.json").read_bytes() == before


def test_an_unwritable_workdir(small_config, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkdirError, match="cannot write to --workdir .*choose another"):
        drifting.train(small_config(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"data.source": "npz:/nowhere/images.npz"}, "no file /nowhere/images.npz"),
        ({"method.num_positives": 200}, "fewer images than the 200 .*: 0 .148."),
    ],
)
def test_data_that_cannot_serve_leaves_the_workdir_empty(small_config, tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        drifting.train(small_config(**changed), tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_run_of_an_earlier_version_is_refused_in_a_line(run_copy, small_config):
    text = (run_copy / "config.json").read_text()
    (run_copy / "config.json").write_text(text.replace('"space"', '"image_shape"'))
    with pytest.raises(ConfigError, match=r"earlier version.*continues from the checkpoints"):
        drifting.load(run_copy)
    drifting.train(small_config(), run_copy)
    assert drifting.load(run_copy).sample([0]).shape == (1, 8, 8, 1)


def test_other_methods_have_one_way_to_sample(small_config, tmp_path):
    config = small_config()
    run = Sampled(tmp_path, config, drifting.build(config).method)
    with pytest.raises(ConfigError, match="only one sampler"):
        run.use_sampler("euler", None)
    assert (run.sampler_name, run.nfe(1.5)) == ("", 1)
