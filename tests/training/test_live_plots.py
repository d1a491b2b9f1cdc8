"""Plots during training: the value of every step, one drawing at a time, failures, resume."""

import logging
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import weight_run
from picture_files import pixels

from drifting.pictures import live
from drifting.training import checkpoints, live_plots, loop, writers
from drifting.training.live_plots import LivePlots
from drifting.training.schedule import Schedule


def train(workdir, total, plot=3, method=None):
    """Calls of 4 steps, rows every 5, plots every `plot`, checkpoints every 6; see weight_run."""
    parts = weight_run.parts(total, method, keep_checkpoints=9)
    parts.schedule = Schedule(total, 5, 99, 6, per_call=4, per_epoch=99.0, plot=plot)
    loop.train(parts, workdir)


def losses(*steps):
    """Weights decay by a tenth in each step."""
    return pytest.approx([3 * 0.81 ** (step - 1) for step in steps], rel=1e-5)


def kept(workdir, name="loss"):
    return np.fromfile(workdir / "summary" / f"{name}.float32", "<f4")


@pytest.fixture
def drawn(monkeypatch):
    """The values of each plot that is drawn in this process."""
    found = []
    plot = live.plot_steps

    def note(values, path, name):
        found.append(values)
        plot(values, path, name)

    monkeypatch.setattr(live, "plot_steps", note)
    return found


def wait_until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_every_step_is_in_the_plot_that_a_run_leaves(tmp_path, drawn):
    train(tmp_path, 11)
    assert kept(tmp_path) == losses(*range(1, 12))
    rows = writers.read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [5, 10, 11]
    means = [kept(tmp_path)[a:b].mean() for a, b in ((0, 5), (5, 10), (10, 11))]
    assert [row["loss"] for row in rows] == pytest.approx(means, rel=1e-6)
    assert len(drawn) == 1 and drawn[0] == losses(*range(1, 12)), "up to the last row"
    assert pixels(tmp_path / "summary" / "loss.png").shape[1] > 600
    assert sorted(os.listdir(tmp_path / "summary")) == ["loss.float32", "loss.png"]


def test_a_resumed_run_goes_on_with_the_plot(tmp_path, drawn):
    train(tmp_path, 11)
    checkpoints._remove(tmp_path / "checkpoints" / "11")
    train(tmp_path, 14)
    assert kept(tmp_path) == losses(*range(1, 15))
    assert drawn[-1] == losses(*range(1, 15))


def test_an_interrupted_run_leaves_the_plot_of_all_its_steps(tmp_path, drawn, monkeypatch):
    scalars = writers.Writers.scalars

    def stop(self, step, row):
        scalars(self, step, row)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(writers.Writers, "scalars", stop)
    with pytest.raises(SystemExit):
        train(tmp_path, 11)
    assert checkpoints.valid_steps(tmp_path / "checkpoints")[-1] == 5
    assert drawn[-1] == losses(*range(1, 6))


def test_steps_without_plots_are_a_gap(tmp_path):
    train(tmp_path, 6)
    train(tmp_path, 8, plot=0)
    assert len(kept(tmp_path)) == 6
    train(tmp_path, 10)
    found = kept(tmp_path)
    assert found[:6] == losses(*range(1, 7)) and found[8:] == losses(9, 10)
    assert np.isnan(found[6:8]).all() and len(found) == 10


def test_plots_can_be_off(tmp_path, caplog):
    train(tmp_path, 8, plot=0)
    train(tmp_path, 8, plot=3)  # nothing left to do
    assert not (tmp_path / "summary").exists() and not caplog.messages
    assert (tmp_path / "curves.png").exists()


def test_a_method_may_ask_for_more_plots(tmp_path):
    class Two(weight_run.Weights):
        plotted = ("loss", "grad_norm")

    train(tmp_path, 8, method=Two())
    assert kept(tmp_path, "grad_norm") == pytest.approx(3**0.5 * 0.9 ** np.arange(8), rel=1e-5)
    assert (tmp_path / "summary" / "grad_norm.png").exists()


class Asked:
    """Takes the place of the drawing process, and notes its requests."""

    def __init__(self):
        self.steps, self.ended = [], True

    def request(self, folder, names, step):
        self.steps.append(step)

    def poll(self):
        return [] if self.ended else None

    def stop(self, folder):
        pass


def test_plots_are_drawn_at_their_steps_but_not_while_one_is_drawn(tmp_path, monkeypatch):
    asked = Asked()
    monkeypatch.setattr(live_plots, "_Drawer", lambda: asked)
    train(tmp_path / "one", 11)
    assert asked.steps == [3, 6, 9], "after the last step it is drawn anyway"
    asked.steps, asked.ended = [], False
    train(tmp_path / "two", 11)
    assert asked.steps == [3]


def plots(folder, values, name="loss"):
    made = LivePlots(folder, (name,), -1)
    made.add({name: np.asarray(values, np.float32)}, len(values))
    return made


def test_the_picture_appears_during_the_run(tmp_path):
    folder = tmp_path / "summary"
    made = plots(folder, np.linspace(3.0, 1.0, 120))
    assert made.ready()
    made.draw()
    wait_until(made.ready)
    first = pixels(folder / "loss.png")
    made.add({"loss": np.full(9, 0.5, np.float32)}, 4)
    made.draw()
    wait_until(made.ready)
    assert (first != pixels(folder / "loss.png")).any()
    during = pixels(folder / "loss.png")
    made.close()
    np.testing.assert_array_equal(pixels(folder / "loss.png"), during)
    assert sorted(os.listdir(folder)) == ["loss.float32", "loss.png"]


def test_the_end_of_a_run_does_not_wait_for_a_drawing(tmp_path, drawn):
    folder = tmp_path / "summary"
    made = plots(folder, np.ones(120))
    made.draw()
    process = made._drawer._process
    os.kill(process.pid, signal.SIGSTOP)
    (folder / f".loss.png.{process.pid}.tmp").touch()
    assert not made.ready()
    made.add({"loss": np.float32([2.0])}, 1)
    made.close()
    assert process.returncode == -signal.SIGKILL
    assert len(drawn) == 1 and drawn[0].tolist() == [1.0] * 120 + [2.0]
    assert sorted(os.listdir(folder)) == ["loss.float32", "loss.png"]


def test_a_plot_that_fails_is_one_warning(tmp_path, caplog):
    folder = tmp_path / "summary"
    made = plots(folder, [1.0, 2.0])
    (folder / "loss.png").mkdir()
    with caplog.at_level(logging.WARNING, logger="drifting"):
        for _ in range(2):
            made.draw()
            wait_until(made.ready)
    assert len(caplog.messages) == 1
    assert f"{folder}/loss.png: IsADirectoryError" in caplog.messages[0]
    (folder / "loss.png").rmdir()
    made.draw()
    wait_until(made.ready)
    assert pixels(folder / "loss.png").size
    made.close()


def test_a_run_goes_on_without_the_drawing_process(tmp_path, caplog):
    folder = tmp_path / "summary"
    made = plots(folder, [1.0, 2.0])
    made.draw()
    wait_until(made.ready)
    process = made._drawer._process
    if hasattr(os, "SCHED_IDLE"):
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
    else:
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    assert os.getpgid(process.pid) != os.getpgid(0), "a terminal's Ctrl-C does not reach it"
    process.kill()
    process.wait()
    with caplog.at_level(logging.WARNING, logger="drifting"):
        made.draw()
        assert not made.ready() and not made.ready()
    (message,) = caplog.messages
    assert message == "live plots are off from here on: their process ended with code -9"
    (folder / "loss.png").unlink()
    made.add({"loss": np.float32([3.0])}, 1)
    made.close()
    assert pixels(folder / "loss.png").size


def test_a_full_disk_ends_the_plots_but_not_the_run(tmp_path, caplog):
    made = plots(tmp_path / "summary", [1.0, 2.0])
    made._files["loss"].close()
    with open("/dev/full", "wb", buffering=0) as full, caplog.at_level(logging.WARNING):
        made._files["loss"] = full
        made.add({"loss": np.float32([3.0])}, 1)
        made.add({"loss": np.float32([4.0])}, 1)
    (message,) = caplog.messages
    assert "No space left on device" in message and "loss.float32" in message
    assert not made.ready()
    made.close()
    assert kept(tmp_path).tolist() == [1.0, 2.0]


PARENT = """
import pathlib, sys, time
import numpy as np
from drifting.training.live_plots import LivePlots
plots = LivePlots(pathlib.Path(sys.argv[1]), ("loss",), -1)
plots.add({"loss": np.ones(5, np.float32)}, 5)
plots.draw()
print(plots._drawer._process.pid, flush=True)
time.sleep(60)
"""


def test_the_drawing_process_ends_with_a_killed_training(tmp_path):
    command = [sys.executable, "-c", PARENT, tmp_path / "summary"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        drawer = int(parent.stdout.readline())
        assert is_running(drawer)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(drawer))


def is_running(pid):
    """Whether a process runs; one that nobody has waited for has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_the_drawing_process_loads_neither_jax_nor_tensorflow(tmp_path):
    program = (
        "import sys\nimport numpy as np\nfrom drifting.pictures import live\n"
        "live.plot_steps(np.ones(3), sys.argv[1], 'loss')\n"
        "print(*{name.partition('.')[0] for name in sys.modules})\n"
    )
    command = [sys.executable, "-c", program, tmp_path / "loss.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "matplotlib" in loaded and not loaded & {"jax", "tensorflow", "ml_collections", "absl"}
