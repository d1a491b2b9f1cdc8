"""Trains a classifier's config by a plain PyTorch loop, to compare frameworks.

    python scripts/reference_torch/train.py --config configs/classifier_digits.py --workdir runs/a

The flags are those of the project's train.py, and so are the files that a run leaves, except the
checkpoint. docs/suites.md says what is the same and what differs.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path = [str(ROOT), *sys.path, str(ROOT / "scripts")]  # for the configs, and for our own files

from drifting.core import interrupts

if __name__ == "__main__":
    interrupts.listen()  # before the imports that take time
    os.environ["JAX_PLATFORMS"] = "cpu"  # the project's data code; the GPU is PyTorch's
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for config.deterministic

from absl import flags
from ml_collections import config_flags

from drifting import cli
from drifting.core.errors import UserError

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file; its keys are flags: --config.train.total_steps=3"
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run. Default: runs/<config name>_torch"
)


def main(_):
    from drifting.core import durations

    holder = flags.FLAGS["config"]
    cli.require_file(holder.config_filename)
    config = CONFIG.value
    durations.choose_units(config, config_flags.get_override_values(holder))
    path, _, argument = holder.config_filename.partition(":")
    name = "_".join(filter(None, (pathlib.Path(path).stem, argument, "torch")))
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UserError("PyTorch is not installed: pip install -e '.[torch]'") from None
    from reference_torch import loop

    loop.train(config, pathlib.Path(WORKDIR.value or f"runs/{name}").expanduser())


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
