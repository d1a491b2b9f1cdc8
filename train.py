"""Trains a config: python train.py --config configs/digits.py [--workdir runs/digits]."""

from drifting.core import interrupts

if __name__ == "__main__":
    interrupts.listen()  # before the imports that take time

import pathlib

from absl import flags
from ml_collections import config_flags

import drifting
from drifting import cli

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file; its keys are flags: --config.train.total_steps=3"
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run. Default: runs/<config name>")
ACCEPT_NEW_DATA = flags.DEFINE_bool(
    "accept_new_data", False, "Continue a run on other samples of the same classes"
)
DEBUG = flags.DEFINE_bool(
    "debug", False, "A run of 200 steps with frequent logs and samples, in runs/<config name>_debug"
)
NOTE = flags.DEFINE_string("note", None, "A note on this start, for <workdir>/history.jsonl")


def main(_):
    from drifting import methods
    from drifting.core import durations
    from drifting.training import backend, debug

    holder = flags.FLAGS["config"]
    cli.require_file(holder.config_filename)
    config = CONFIG.value
    overrides = config_flags.get_override_values(holder)
    durations.choose_units(config, overrides)
    backend.configure(config.deterministic, methods.find(config.method.name).large_maps)
    path, _, argument = holder.config_filename.partition(":")
    name = "_".join(filter(None, (pathlib.Path(path).stem, argument, DEBUG.value and "debug")))
    workdir = pathlib.Path(WORKDIR.value or pathlib.Path("runs") / name).expanduser()
    if DEBUG.value:
        debug.shorten(config, overrides, workdir)
    drifting.train(config, workdir, accept_new_data=ACCEPT_NEW_DATA.value, note=NOTE.value)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
