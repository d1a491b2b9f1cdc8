"""Words that no flag takes, ~ in paths, and errors of the system, at every entry point."""

import os
import pathlib
import subprocess
import sys

import pytest

from drifting import cli

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUITE = "configs/suites/stage1.py"


def errors_of(*command):
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    "command,message",
    [
        ("sample.py --workdir w --noema False", "write --noema=false"),
        ("sample.py --workdir w --translate d --out o --num 9 --labels 1 --cfg_scale 2 --seed 1",
         "--num, --labels, --cfg_scale, --seed: of samples only, not of --translate"),
        ("sample.py --workdir w --out o --limit 3 --format jpg --max_side 9",
         "--limit, --format, --max_side: only with --translate"),
        ("sample.py --workdir w --translate d", "--translate needs --out, a folder"),
        ("evaluate.py --workdir w --watch no --num_samples 3", "write --watch=no"),
        ("evaluate.py --workdir w 500", "unexpected argument '500'"),
        ("train.py --config configs/digits.py --config.data.flip False",
         "write --config.data.flip=false"),
        ("train.py --config configs/digits.py config.seed=3", "did you mean --config.seed=3?"),
        (f"scripts/run_suite.py {SUITE} --out x --nano False", "write --nano=false"),
        ("scripts/encode_latents.py --workdir w --out o --flip no", "write --flip=no"),
        ("scripts/runs.py lst runs", "did you mean 'list'?"),
        ("scripts/runs.py list runs --yes", "list takes no --yes"),
        ("scripts/bench_field.py 7", "unexpected argument '7'"),
    ],
)  # fmt: skip
def test_words_that_no_flag_takes_are_errors(command, message):
    assert message in errors_of(*command.split())


@pytest.mark.parametrize(
    "given,expanded",
    [
        ("--out=~/four.png", "--out={home}/four.png"),
        ("--config=~/mine.py:small", "--config={home}/mine.py:small"),
        ("--config.method.encoder=~/runs/e", "--config.method.encoder={home}/runs/e"),
        ("~/runs/a", "{home}/runs/a"),
        ("--workdir=~", "--workdir={home}"),
        ("--out=a~/b", "--out=a~/b"),
        ("--labels=1,2", "--labels=1,2"),
    ],
)
def test_a_tilde_is_the_home_folder(given, expanded):
    assert cli._expand_home(given) == expanded.format(home=os.path.expanduser("~"))


def test_a_full_disk_is_one_line_that_names_the_file():
    program = (
        "from drifting import cli\n"
        "from drifting.core import files\n"
        "import os\n"
        "def main(_):\n"
        "    with files.naming('runs/a/metrics.jsonl'), open('/dev/full', 'w') as file:\n"
        "        file.write('x')\n"
        "cli.run(main)\n"
    )
    line = errors_of("-c", program)
    assert line == "error: No space left on device: runs/a/metrics.jsonl"
