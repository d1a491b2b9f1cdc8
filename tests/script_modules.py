"""Scripts as modules: scripts/ is no package, and each script defines flags of its own."""

import importlib.util
import pathlib
import sys
import types
from unittest import mock

from absl import flags

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "scripts"


def load(name: str) -> types.ModuleType:
    """scripts/<name>.py; its flags are forgotten, as another script may define the same."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    before = set(flags.FLAGS)
    with mock.patch("sys.path", [*sys.path, str(SCRIPTS)]):  # scripts import each other
        spec.loader.exec_module(module)
    flags.FLAGS.remove_flag_values(sorted(set(flags.FLAGS) - before))
    return module
