"""Imports run one way, and no file or class outgrows its name: read from the code."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ("configs", "drifting", "input_pipeline", "models")
GROUND = ("drifting.core", "drifting.fields", "drifting.flows", "models", "input_pipeline")
BELOW_RUNS = (*GROUND, "drifting.methods", "drifting.pretrained", "drifting.training",
              "drifting.evaluation", "drifting.pictures")  # fmt: skip
SHARED = ("drifting.methods.batches", "drifting.methods.features", "drifting.methods.gradients",
          "drifting.methods.shown")  # fmt: skip
MAY_KNOW = {
    "drifting/core": ("drifting.core", "models", "input_pipeline"),
    "drifting/fields": ("drifting.fields",),
    "drifting/flows": ("drifting.flows",),
    "models": ("models", "drifting.core.errors"),
    "input_pipeline": ("input_pipeline", "drifting.core.errors", "drifting.core.files"),
    "drifting/methods": (*GROUND, "drifting.methods"),
    "drifting/methods/drifting": (*GROUND, *SHARED, "drifting.methods.drifting"),
    "drifting/methods/meanflow": (*GROUND, *SHARED, "drifting.methods.meanflow"),
    "drifting/pictures": ("drifting.core.errors", "drifting.core.files", "input_pipeline.space",
                          "drifting.pictures"),
    "drifting/pretrained": ("drifting.core", "models", "drifting.pretrained"),
    "drifting/training": ("drifting.core", "input_pipeline", "drifting.pictures",
                          "drifting.training"),
    "drifting/evaluation": ("drifting.core", "models", "input_pipeline", "drifting.pretrained",
                            "drifting.pictures", "drifting.evaluation"),
    "drifting/runs": (*BELOW_RUNS, "drifting.runs"),
    # Its runs are processes: of those that do the work it knows only what they leave in files.
    "drifting/suites": ("drifting.core", "drifting.pictures", "drifting.evaluation.record",
                        "drifting.training.writers", "drifting.suites"),
}  # fmt: skip
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_CLASS = 400, 250


def imports(path):
    """The modules of ours that a file imports, at whatever place in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OURS)


@pytest.mark.parametrize("room", MAY_KNOW)
def test_a_room_knows_only_those_below(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            known = any(f"{name}.".startswith(f"{allowed}.") for allowed in MAY_KNOW[room])
            assert known, f"{path.relative_to(ROOT)} imports {name}"


def test_the_library_knows_no_config_file():
    for path in (ROOT / "drifting").rglob("*.py"):
        assert not any(name.split(".")[0] == "configs" for name in imports(path)), path


@pytest.mark.parametrize("package", ["drifting", "models", "input_pipeline"])
def test_no_file_or_class_is_long(package):
    """What is longer holds two things: they are divided by what they are, not by counting."""
    long = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        text, name = path.read_text(), str(path.relative_to(ROOT))
        if (count := len(text.splitlines())) > MOST_LINES_OF_A_FILE:
            long[name] = count
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ClassDef):
                continue
            if (count := node.end_lineno - node.lineno + 1) > MOST_LINES_OF_A_CLASS:
                long[f"{name}: {node.name}"] = count
    assert not long
