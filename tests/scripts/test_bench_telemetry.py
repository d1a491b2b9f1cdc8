"""Which times the benchmark of telemetry counts as those with it and those without."""

import types

import pytest
import script_modules

bench = script_modules.load("bench_telemetry")


def test_rounds_alternate_and_each_counts_where_it_belongs(tmp_path, monkeypatch):
    clock, closed = [0.0], []
    switched = types.SimpleNamespace(close=lambda: closed.append(clock[0]))
    monkeypatch.setattr(bench, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(bench.telemetry, "Telemetry", lambda devices: switched)
    monkeypatch.setattr(bench, "LOGS", types.SimpleNamespace(value=2))
    train = types.SimpleNamespace(tensorboard=False)
    trainer = types.SimpleNamespace(
        config=types.SimpleNamespace(train=train),
        telemetry=switched,
        mesh=types.SimpleNamespace(local_devices=[]),
    )
    writers = bench.Alternating(trainer, tmp_path)
    for row in range(2 * 9):  # a round of warm-up and four pairs
        clock[0] += 0.5 * (1.02 if trainer.telemetry else 1.0)
        writers.scalars(row + 1, {"step_ms": 1.0, "loss": float(row)})
        writers.scalars(row + 1, {"energy_distance": 1.0})  # of samples
    assert writers.seconds == pytest.approx([1.0, 1.02, 1.02, 1.0] * 2)
    assert len(closed) == 1 + 4, "that of the warm-up, and one of each pair"
    assert writers.row["loss"] == 15.0, "the last row of the round before the last"
    summary = bench.summarize(writers.seconds, steps=100)
    assert (summary["step_ms_without"], summary["step_ms_with"]) == (10.0, 10.2)
    assert summary["ratio"] == 1.02 and summary["ratio_interval_95"] == [1.02, 1.02]
