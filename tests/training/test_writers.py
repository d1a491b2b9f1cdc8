"""What of metrics.jsonl and of TensorBoard's events a resumed run keeps, drops and sets aside."""

import logging
import time

import pytest

from drifting.training import writers


def lines(*steps):
    return b"".join(b'{"step": %d, "loss": %d.5}\n' % (step, step) for step in steps)


@pytest.mark.parametrize(
    "damaged",
    [b"\xff\xfe\x00", b"{'step': 3}", b"[1, 2]", b'{"loss": 1.0}', b'{"step": "3"}', b"[" * 100_000,
     b'{"step": 3, "loss": "low"}', b'{"step": 3, "loss": ' + b"9" * 5000 + b"}"],
    ids=range(8),
)  # fmt: skip
def test_lines_that_are_no_rows_are_set_aside(tmp_path, caplog, damaged):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines(1) + damaged + b"\n" + lines(2, 3))
    assert [row["step"] for row in writers.read_metrics(path)] == [1, 2, 3]
    with caplog.at_level(logging.WARNING, logger="drifting"):
        output = writers.Writers(tmp_path, 2, False, {})
    output.scalars(3, {"loss": 0.25})
    output.close()
    rows = writers.read_metrics(path)
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.5), (2, 2.5), (3, 0.25)]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == damaged + b"\n"
    assert len(caplog.messages) == 1 and "1 lines are damaged" in caplog.text
    writers.Writers(tmp_path, 3, False, {}).close()
    assert len(caplog.messages) == 1, "said once"


def test_a_run_that_starts_again_keeps_no_row(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(lines(0, 1))
    writers.Writers(tmp_path, -1, False, {}).close()
    assert writers.read_metrics(tmp_path / "metrics.jsonl") == []


@pytest.fixture
def board(tmp_path):
    """board() -> (step, value) of each point of "loss" that TensorBoard shows."""
    pytest.importorskip("tensorflow")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    def points():
        events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
        events.Reload()
        return [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors("loss")]

    return points


def test_tensorboard_shows_each_step_once_after_a_hard_kill(tmp_path, board):
    def begin(last_step, steps, value):
        output = writers.Writers(tmp_path, last_step, True, {"seed": 1})
        for step in steps:
            output.scalars(step, {"loss": value})
        output.flush()  # and no close: the process is killed
        time.sleep(1.1)  # files of events are ordered by the second of their creation

    begin(-1, range(1, 8), 1.0)
    begin(4, range(5, 10), 2.0)
    begin(6, range(7, 9), 3.0)
    expected = [1.0] * 4 + [2.0] * 2 + [3.0] * 2
    assert board() == list(zip(range(1, 9), expected, strict=True))
    begin(-1, range(1, 3), 4.0)
    assert board() == [(1, 4.0), (2, 4.0)]


def test_an_error_of_the_events_does_not_end_the_run(tmp_path, caplog, monkeypatch):
    class Full:
        def write_scalars(self, step, row):
            raise RuntimeError("No space left on device\nmore")

    output = writers.Writers(tmp_path, -1, False, {})
    output._board = Full()
    with caplog.at_level(logging.WARNING, logger="drifting"):
        output.scalars(1, {"loss": 1.0})
        output.scalars(2, {"loss": 1.0})
    output.close()
    assert caplog.messages == ["TensorBoard events are off from here on: No space left on device"]
    assert len(writers.read_metrics(tmp_path / "metrics.jsonl")) == 2
