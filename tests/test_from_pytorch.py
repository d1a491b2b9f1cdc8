"""docs/from_pytorch.md: every piece of code that names something of ours names what exists.

Only the first column of each table is left out, which names what the other systems have.
"""

import ast
import contextlib
import functools
import importlib
import re
import shlex

import facts
import jax
import numpy as np
import pytest
import small_runs
from places import ROOT

import drifting
from configs import mae_cifar10, vae_digits
from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import UserError
from drifting.evaluation import record
from drifting.training import telemetry
from drifting.training.epochs import PREFIX
from drifting.training.meters import Window
from input_pipeline.sources import SOURCES
from models import registry

PAGE = ROOT / "docs" / "from_pytorch.md"
ALL = tuple(methods.METHODS)
# The methods whose keys a section may name.
METHODS = {
    "": ALL,
    "What all of them have": ALL,
    "Drifting models: jaysarva/drifting-model": ("drifting",),
    "Drifting models: lambertae/drifting": ("drifting", "mae"),
    "Flow matching and MeanFlow: kylevedder/DenoisingZoo": ("meanflow",),
    "MeanFlow: Gsunshine/meanflow": ("meanflow",),
    "MeanFlow: Gsunshine/py-meanflow": ("meanflow",),
    "KL autoencoder: cfpark00/MLtools": ("autoencoder",),
    "CUT: taesungp/contrastive-unpaired-translation": ("cut",),
    "Classifiers: a benchmark of Keras and PyTorch": ("classifier",),
}
FACTS = facts.make()
PROGRAM = re.compile(r"[\w/]+\.(py|sh)")
FILE = re.compile(r"\.(array_record|csv|gif|jsonl?|md|npz|png|tfevents.*)$")
KEY = re.compile(r"([^ =]+)(?: ?= ?(.+))?")
PLACE = re.compile(r"<[^>]*>|XX+|\*|\.\.\.")  # holders of what differs from run to run
MAE = {"data.source": "digits", "data.image_size": 8, "data.channels": 1, "data.num_val": 100,
       "method.classification_weight": 0.1, "mesh.data": 1}  # fmt: skip


# --- what there is ------------------------------------------------------------------------------


@functools.cache
def configs(method):
    """One config for each network that the method can have, each with its flat keys."""
    made = [drifting.of(method, name) for name in registry.names(methods.find(method).family)]
    return [(config, config_lib.flatten(config)) for config in made]


SECTIONS = {key.split(".")[0] for name in ALL for _, flat in configs(name) for key in flat}


@functools.cache
def flags_of(program):
    """The flags that a program defines, found without running it."""
    calls = [
        n for n in ast.walk(ast.parse((ROOT / program).read_text())) if isinstance(n, ast.Call)
    ]
    names = [(ast.unparse(call.func).rpartition(".")[2], call.args) for call in calls]
    return {
        arguments[0].value.lstrip("-")
        for function, arguments in names
        if function.startswith("DEFINE_") or function == "add_argument"
    }


@functools.cache
def literals(folder):
    """All strings in the code of a folder."""
    nodes = (n for file in folder.rglob("*.py") for n in ast.walk(ast.parse(file.read_text())))
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def logged(config):
    """The metrics of a step and of a picture, found without computing them."""
    parts = drifting.build(config)
    key, data = jax.random.key(0), parts.data.to_device()
    state = jax.eval_shape(parts.method.init, key)
    _, metrics = jax.eval_shape(parts.method.train_step, state, data, key, {})
    return {*metrics, *jax.eval_shape(parts.method.diagnostics, state, key, data)}


def scored(config):
    """The scores on held-out images, found without computing them."""
    parts = drifting.build(config)
    key = jax.random.key(0)
    state = jax.eval_shape(parts.method.init, key)
    images, labels = np.zeros((1, *parts.facts.space.shape), np.float32), np.zeros(1, np.int32)
    sums = jax.eval_shape(parts.method.tally, state, images, labels, np.ones(1), key)
    return parts.method.scores(jax.tree.map(lambda x: np.ones(x.shape), sums)).keys()


@pytest.fixture(scope="module")
def scores():
    """The names of metrics, scores and columns."""
    learned = {"method.form": "sphere", "method.field": "learned"}
    mae = mae_cifar10.get_config("mae_nano")
    mae.update_from_flattened_dict(MAE)
    vae = vae_digits.get_config()
    vae.mesh.data = 1
    cut = small_runs.cut(**{"method.nce_idt": True})
    runs = small_runs.drifting(), small_runs.drifting(**learned), small_runs.meanflow(), vae, cut
    names = set().union(*map(logged, runs), *map(scored, (small_runs.classifier(), mae, vae)))
    window = Window()
    window.steps = 1
    return {
        "step", "epoch", "seconds", "num_batches",  # of epochs.jsonl
        *names, *(f"val_{n}" for n in names), *(f"{PREFIX}{n}" for n in names),
        *window.rates(1, 1.0), *telemetry.NAMES, *record.columns(),
        *filter(str.isidentifier, literals(ROOT / "drifting" / "suites")),  # columns of its tables
    }  # fmt: skip


# --- what the page says -------------------------------------------------------------------------


def pieces():
    """(line, section, code, text around it) of every piece of code outside first columns."""
    section, block = "", ""
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if line.startswith("## "):
            section = line[3:]
        if line.startswith("    "):
            block += line.strip().removesuffix("\\")
            if not line.endswith("\\"):
                yield number, section, block, ""
                block = ""
            continue
        text = line.strip("|").partition(" | ")[2] if line.startswith("|") else line
        for code in re.findall(r"`(.+?)`", text):
            yield number, section, code, text


def fault(code, section, text, scores):
    """What does not exist of a piece of code; None if all of it does."""
    words = shlex.split(code)
    if words[0] in ("python", "bash"):
        return fault_of_command(words[1:], section)
    if PROGRAM.fullmatch(words[0]) and (len(words) > 1 or "/" not in code):
        return fault_of_command(words, section)
    if code.startswith("--"):
        programs = {p[0] for p in re.finditer(r"(scripts/)?\w+\.py", text)} or ["no program here"]
        faults = [fault_of_command([p, *words], section) for p in sorted(programs)]
        return None if None in faults else faults[0]
    if code.startswith("drifting."):
        return None if hasattr(drifting, code.partition(".")[2]) else "no such function"
    if re.fullmatch(r"[A-Z_]+", code):
        return None if f"`{code}`" in (ROOT / "docs/data.md").read_text() else "no such variable"
    if code.split("/")[0] in ("configs", "docs", "drifting", "models", "scripts", "tests"):
        return fault_of_path(code)
    if FILE.search(code) or "/" in code:
        return fault_of_output(code)
    key, value = KEY.fullmatch(code).groups()
    if key.split(".")[0] in SECTIONS:
        return fault_of_key(key, value, section)
    pattern = re.compile(PLACE.sub(".+", code))
    return None if any(map(pattern.fullmatch, scores)) else "no such key, metric or column"


def fault_of_command(words, section):
    program, *arguments = words
    if not (ROOT / program).is_file():
        return f"no {program}"
    for word in arguments:
        name, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--config."):
            found = fault_of_key(name.removeprefix("config."), value, section)
        elif word.startswith("--"):
            found = None if name in flags_of(program) else f"{program} has no --{name}"
        else:
            found = fault_of_path(word) if word.startswith("configs/") else None
        if found:
            return found
    return None


def fault_of_path(path):
    file, _, variant = path.partition(":")
    if not (ROOT / file).exists():
        return f"no {file}"
    if variant:
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        try:
            module.get_config(variant)
        except UserError as error:
            return str(error)
    return None


def fault_of_key(key, value, section):
    """Whether a method of the section has the key, and may have the value."""
    having = [(m, config) for m in METHODS[section] for config, keys in configs(m) if key in keys]
    if not having:
        return f"no key {key} of {', '.join(METHODS[section])}"
    if value in (None, "..."):
        return None
    faults = [fault_of_value(method, config, key, value) for method, config in having]
    return None if None in faults else faults[0]


def fault_of_value(method, config, key, value):
    with contextlib.suppress(SyntaxError, ValueError):  # or a text, as on a command line
        value = ast.literal_eval(value)
    if key == "data.source":
        return None if value.partition(":")[0] in SOURCES else f"no source {value}"
    if key == "model.size":
        return None if value in registry.sizes(config.model.name) else f"no size {value}"
    try:
        config = config.copy_and_resolve_references().unlock()
        config.update_from_flattened_dict({key: value})
        config = config_lib.resolve(config)
        settings = config_lib.typed(methods.find(method).settings_type, config.method, "method")
        settings.completed(FACTS).check(FACTS)
    except (UserError, TypeError, ValueError) as error:
        # Others than of this key alone come from values that have to be set together.
        return f"{key} = {value}: {error}" if key in str(error) else None
    return None


def fault_of_output(path):
    """Whether the code has the names that a path in the folder of a run consists of."""
    folders = (ROOT / "drifting", ROOT / "input_pipeline", ROOT / "scripts")
    texts = [text for folder in folders for text in literals(folder) if not re.search(r"\s", text)]
    known = {part for text in texts for part in text.split("/")}
    for part in filter(None, PLACE.sub("/", path).split("/")):
        stem, _, suffix = part.partition(".")
        if part not in known and not known >= {f"{stem}.", suffix}:
            return f"nothing writes {part}"
    return None


def test_all_that_the_page_names_exists(scores):
    found = [(number, code, fault(code, section, text, scores))
             for number, section, code, text in pieces()]  # fmt: skip
    faults = [f"line {number}: `{code}`: {what}" for number, code, what in found if what]
    assert len(found) > 500
    assert not faults, "\n" + "\n".join(faults)


def test_links_lead_to_headings():
    for file, anchor in re.findall(r"\]\(([\w.]*)(?:#([\w-]+))?\)", PAGE.read_text()):
        text = (PAGE.parent / file).read_text() if file else PAGE.read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        anchors = {
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
        }
        assert not anchor or anchor in anchors, f"no heading {file}#{anchor}"
