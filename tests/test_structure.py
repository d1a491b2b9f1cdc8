"""Laws of the structure, read from the code: imports, lengths, tests, config keys."""

import ast
import dataclasses
import inspect
import pathlib

import pytest

from drifting import methods
from drifting.core import config as config_lib
from drifting.core import durations, optimizers
from models import registry

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ("configs", "drifting", "input_pipeline", "models")
GROUND = ("drifting.core", "drifting.fields", "drifting.flows", "drifting.losses", "models",
          "input_pipeline")  # fmt: skip
BELOW_RUNS = (*GROUND, "drifting.methods", "drifting.pretrained", "drifting.training",
              "drifting.evaluation", "drifting.pictures")  # fmt: skip
SHARED = ("drifting.methods.batches", "drifting.methods.features", "drifting.methods.gradients",
          "drifting.methods.shown")  # fmt: skip
MAY_IMPORT = {
    "drifting/core": ("drifting.core", "models", "input_pipeline"),
    "drifting/fields": ("drifting.fields",),
    "drifting/flows": ("drifting.flows",),
    "drifting/losses": ("drifting.losses", "drifting.fields.pairs", "input_pipeline.augment"),
    "models": ("models", "drifting.core.errors"),
    "input_pipeline": ("input_pipeline", "drifting.core.errors", "drifting.core.files"),
    "drifting/methods": (*GROUND, "drifting.methods"),
    "drifting/methods/autoencoder": (*GROUND, *SHARED, "drifting.methods.autoencoder"),
    "drifting/methods/cut": (*GROUND, *SHARED, "drifting.methods.cut"),
    "drifting/methods/drifting": (*GROUND, *SHARED, "drifting.methods.drifting"),
    "drifting/methods/meanflow": (*GROUND, *SHARED, "drifting.methods.meanflow"),
    "drifting/pictures": ("drifting.core.errors", "drifting.core.files", "input_pipeline.space",
                          "drifting.pictures"),
    "drifting/pretrained": ("drifting.core", "models", "drifting.pretrained"),
    "drifting/training": ("drifting.core", "input_pipeline", "drifting.pictures",
                          "drifting.training"),
    "drifting/evaluation": ("drifting.core", "drifting.fields", "models", "input_pipeline",
                            "drifting.pretrained", "drifting.pictures", "drifting.evaluation"),
    "drifting/runs": (*BELOW_RUNS, "drifting.runs"),
    # The runs of a suite are processes of their own: it knows only the files that they write.
    "drifting/suites": ("drifting.core", "drifting.pictures", "drifting.evaluation.record",
                        "drifting.training.writers", "drifting.suites"),
}  # fmt: skip
# Packages of pure functions, and the modules from outside that those may import.
PURE = ("drifting/fields", "drifting/flows", "drifting/losses")
PURE_MODULES = {"collections", "functools", "jax", "math", "optax", "typing"}
MAX_FILE_LINES, MAX_CLASS_LINES = 400, 250


def imports(path):
    """Yields the project's modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OURS)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_those_below_it(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            allowed = any(f"{name}.".startswith(f"{other}.") for other in MAY_IMPORT[package])
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_the_library_imports_no_config_file():
    for path in (ROOT / "drifting").rglob("*.py"):
        assert not any(name.split(".")[0] == "configs" for name in imports(path)), path


@pytest.mark.parametrize("package", PURE)
def test_pure_functions_keep_no_state_and_touch_no_files(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            foreign = {name.split(".")[0] for name in names} - PURE_MODULES - set(OURS)
            assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"
            assert not isinstance(node, ast.Global | ast.Nonlocal), f"{path} changes variables"
            assert getattr(node, "id", "") not in ("open", "print", "input"), path


@pytest.mark.parametrize("package", ["drifting", "models", "input_pipeline"])
def test_no_file_or_class_is_long(package):
    """A longer one does two things; divide it by what they are, not by counting lines."""
    long = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        text, name = path.read_text(), str(path.relative_to(ROOT))
        if (count := len(text.splitlines())) > MAX_FILE_LINES:
            long[name] = count
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ClassDef):
                continue
            if (count := node.end_lineno - node.lineno + 1) > MAX_CLASS_LINES:
                long[f"{name}: {node.name}"] = count
    assert not long


def test_the_tests_mirror_the_code():
    """Apart from whole runs and reference numbers, a folder of tests is named after one of code."""
    tests = ROOT / "tests"
    named = {p.parent.relative_to(tests) for p in tests.rglob("test_*.py") if p.parent != tests}
    named -= {pathlib.Path("end_to_end"), pathlib.Path("golden")}
    assert {pathlib.Path("models"), pathlib.Path("input_pipeline/sources")} < named
    missing = [n for n in named if not any((top / n).is_dir() for top in (ROOT, ROOT / "drifting"))]
    assert not missing


# --- config keys ---------------------------------------------------------------------------------

EVERYWHERE = ("drifting", "models", "input_pipeline", "train.py")
DURATIONS = {f"{name}_{unit}" for name in durations.DURATIONS for unit in durations.UNITS}


def sections():
    """Yields each section's name, the dataclass of its keys, and where they have to be read."""
    yield "config", config_lib.Settings, EVERYWHERE
    for name, place in config_lib.SECTIONS.items():
        yield f"config.{name}", config_lib.find(place), EVERYWHERE
    for name, kind in optimizers.OPTIMIZERS.items():
        yield f"optimizer {name}", kind, ("drifting/core",)
    for name in methods.METHODS:
        method = methods.find(name)
        folder = str(pathlib.Path(inspect.getsourcefile(method)).parent.relative_to(ROOT))
        yield f"method {name}", method.settings_type, (folder,)
        for section, settings in method.sections.items():
            yield f"config.{section} of method {name}", type(settings), (folder,)
    for name in registry.NAMES:
        yield f"network {name}", registry.settings(name), ("models",)


def attributes_read(node):
    """Yields the names of all attributes that code reads, except to check a value."""
    if isinstance(node, ast.FunctionDef) and node.name == "check":
        return
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield node.attr
    for child in ast.iter_child_nodes(node):
        yield from attributes_read(child)


def test_every_config_key_is_read():
    """A key that nothing reads is a setting without effect."""
    read = {}
    for path in [*ROOT.glob("*.py"), *(p for o in OURS for p in (ROOT / o).rglob("*.py"))]:
        read[path] = set(attributes_read(ast.parse(path.read_text())))
    unread = []
    for name, kind, places in sections():
        inside = [names for path, names in read.items()
                  if any(path.is_relative_to(ROOT / place) for place in places)]  # fmt: skip
        known = DURATIONS.union(*inside)  # durations are read by names that are put together
        unread += [f"{name}: {f.name}" for f in dataclasses.fields(kind) if f.name not in known]
    assert not unread
