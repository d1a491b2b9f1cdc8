"""Imports scripts as modules: scripts/ is not a package, and each script defines its own flags."""

import importlib.util
import pathlib
import sys
import types
from unittest import mock

from absl import flags

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / "scripts"


def load(name: str) -> types.ModuleType:
    """The module scripts/<name>.py. Its flags are removed, as other scripts may define the same."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    before = set(flags.FLAGS)
    with mock.patch("sys.path", [*sys.path, str(SCRIPTS)]):  # scripts import each other
        spec.loader.exec_module(module)
    flags.FLAGS.remove_flag_values(sorted(set(flags.FLAGS) - before))
    return module
