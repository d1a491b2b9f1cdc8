"""The diffs of docs/extend.md, applied to a copy of the code and run as a user runs them."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

PAGE = (ROOT / "docs" / "extend.md").read_text()
DIFFS = [text.split("```")[0] for text in PAGE.split("```diff\n")[1:]]
CODE = ("configs", "drifting", "input_pipeline", "models", "train.py")
NEW, LINE = "a new file", "one line"

# What the copy's own modules give, for the tests below to judge.
PROBE = """
import json, sys
import jax, numpy as np
import drifting
from drifting.evaluation import record
from drifting.methods import gmmn
from input_pipeline import sources

x, y = np.load(sys.argv[1]).values()
spirals = {s: sources.load("spirals", s, image_size=1, channels=1) for s in ("train", "test")}
config = drifting.of("meanflow", "relu_mlp")
config.data.source = "spirals"
config.method.update(share_r_neq_t=0.0, sampler="euler", norm_power=0.0, class_conditional=False)
config.optimizer.learning_rate = 2e-3
config.optimizer.warmup_steps = 0
config.mesh.data = 1
parts = drifting.build(config)
state, data = parts.method.init(jax.random.key(0)), parts.data.to_device()
sizes = [leaf.size for leaf in jax.tree.leaves(state.params)]
step, errors = jax.jit(parts.method.train_step), []
for key in jax.random.split(jax.random.key(1), 300):
    state, metrics = step(state, data, key, {})
    errors.append(float(metrics["error_r_eq_t"]))
found = dict(
    home=drifting.__file__, columns=record.columns(), parameters=sum(sizes), errors=errors,
    sliced=drifting.metrics.sliced.sliced_wasserstein(x, y, seed=0),
    mmd=float(gmmn.squared_mmd(x, y, (0.5, 2.0))),
    classes=spirals["train"].class_names,
    counts={s: np.bincount(found.labels).tolist() for s, found in spirals.items()},
    points=spirals["test"].images.tolist(), labels=spirals["test"].labels.tolist(),
)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the code, to which all diffs of the page are applied, each as a whole or not."""
    if shutil.which("git") is None:
        pytest.skip("no git to apply the diffs with")
    folder = tmp_path_factory.mktemp("extend")
    for name in CODE:
        duplicate = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        duplicate(ROOT / name, folder / name)
    # Outside a repository, or else the paths of a diff would be relative to that.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    for diff in DIFFS:
        subprocess.run(
            ["git", "apply"], input=diff, text=True, cwd=folder, env=environment, check=True
        )
    return folder


@pytest.fixture(scope="module")
def python(copy):
    """python(*arguments) -> what the interpreter prints, with the copy in place of the library."""

    def run(*arguments):
        flags = "--xla_backend_optimization_level=0"
        environment = {**os.environ, "PYTHONPATH": str(copy), "XLA_FLAGS": flags}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=copy, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


FILES = [
    {"drifting/evaluation/metrics/sliced.py": NEW},
    {"input_pipeline/sources/spirals.py": NEW, "input_pipeline/sources/registry.py": LINE},
    {"models/relu_mlp.py": NEW, "models/registry.py": LINE},
    {"drifting/methods/gmmn.py": NEW, "drifting/methods/__init__.py": LINE,
     "configs/gmmn_moons.py": NEW},
]  # fmt: skip


@pytest.mark.parametrize("diff, files", [*zip(DIFFS, FILES, strict=True)])
def test_a_diff_touches_the_files_that_the_page_names(diff, files):
    found = {}
    for part in ("\n" + diff).split("\n--- ")[1:]:
        old, new, *lines = part.splitlines()
        added = [line for line in lines if line.startswith("+")]
        assert not any(line.startswith("-") for line in lines)
        assert old == "/dev/null" or len(added) == 1
        found[new.removeprefix("+++ b/")] = NEW if old == "/dev/null" else LINE
    assert found == files


def test_the_method_trains_the_network_on_the_source_and_is_scored_by_the_metric(
    python, copy, tmp_path
):
    changed = {
        "data.source": "spirals", "model.name": "relu_mlp", "model.depth": 2, "mesh.data": 1,
        "train.total_steps": 400, "train.checkpoint_steps": 400, "train.sample_steps": 400,
        "train.steps_per_call": 50, "train.tensorboard": False, "train.evaluate": True,
        "eval.metrics": "('sliced',)",
    }  # fmt: skip
    python(
        "train.py", "--config", "configs/gmmn_moons.py", "--workdir", tmp_path,
        *(f"--config.{key}={value}" for key, value in changed.items()),
    )  # fmt: skip
    facts = json.loads((tmp_path / "config.json").read_text())
    assert facts["config"]["method"]["name"] == "gmmn"
    # `width` is that of the method's default network, which has a key of that name.
    assert facts["config"]["model"] == {"name": "relu_mlp", "width": 256, "depth": 2}
    with open(tmp_path / "eval" / "fid_metrics.csv") as file:
        first, last = csv.DictReader(file)
    assert (first["step"], last["step"], last["data_set"]) == ("0", "400", "spirals")
    assert 0 < float(last["sliced_wasserstein"]) < 0.5 * float(first["sliced_wasserstein"])
    assert (tmp_path / "eval" / "sliced_vs_step.png").stat().st_size > 1000


def test_each_addition_computes_what_it_says(python, copy, tmp_path):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((5, 2)).astype(np.float32)
    y = x + np.float32([3.0, 4.0])
    np.savez(tmp_path / "arrays.npz", x=x, y=y)
    found = json.loads(python("-c", PROBE, tmp_path / "arrays.npz"))
    assert found["home"].startswith(str(copy))
    assert "sliced_wasserstein" in found["columns"]
    # Along the unit vector a, a shift by c is W1 = |a.c|; its mean over the circle is 2 |c| / pi.
    assert found["sliced"] == pytest.approx(2 / np.pi * 5, rel=0.1)
    assert found["mmd"] == pytest.approx(squared_mmd(x, y, (0.5, 2.0)), rel=1e-4)
    assert found["counts"]["train"] == pytest.approx([10_000, 10_000], rel=0.05)
    assert sum(found["counts"]["train"]) == 20_000 and sum(found["counts"]["test"]) == 5_000
    assert distances_to_arm(np.array(found["points"]), np.array(found["labels"])).max() < 0.25
    assert f"{found['parameters']:,} parameters" in PAGE
    # Flow matching: without a look at its input, a network is left with the variance of noise and
    # of data, 1 + 1.
    assert np.mean(found["errors"][-20:]) < 1.75


def squared_mmd(x, y, bandwidths):
    """By its definition, pair by pair."""

    def kernel(a, b):
        return sum(np.exp(-np.sum((a - b) ** 2) / (2 * s**2)) for s in bandwidths)

    def own(points):
        pairs = [(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j]
        return np.mean([kernel(a, b) for a, b in pairs])

    return own(x) + own(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def distances_to_arm(points, labels):
    """Of points [N, 2] to the spiral of their label: 1.5 turns, from the centre to radius 2."""
    share = np.linspace(0.0, 1.0, 500)
    angle = 3 * np.pi * share + np.pi * labels[:, None]  # [N, 500]
    arm = 2 * share[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.linalg.norm(arm - points[:, None], axis=-1).min(axis=1)
