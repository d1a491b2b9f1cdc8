"""A few damaged files for each reader of files that users bring; fuzz.py reads many more."""

import multiprocessing

import pytest
import script_modules

fuzz = script_modules.load("fuzz")
READERS = fuzz.fuzz_readers.READERS


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused(name, tmp_path):
    for number in range(20):
        _, files = fuzz.changed_files([name], 0, number)
        outcome = fuzz.outcome_of(name, files, tmp_path / str(number))
        assert outcome in ("read", "refused"), f"input {number}: {outcome}"


def test_changes_are_repeatable_and_differ():
    first, again, second = (fuzz.changed_files(["npz"], 3, number)[1] for number in (0, 0, 1))
    assert first == again
    assert first != second


def failing_reader(folder):
    raise KeyError(folder)


def test_another_error_is_a_failure(monkeypatch, tmp_path):
    reader = fuzz.fuzz_readers.Reader(lambda folder: None, failing_reader)
    monkeypatch.setitem(READERS, "broken", reader)
    assert fuzz.outcome_of("broken", {}, tmp_path) == "KeyError in test_fuzz.py:failing_reader"


def hanging_work(connection, names, seed, first, gigabytes):
    """Reports one input and then hangs at each second one; dies at the fifth."""
    del names, seed, gigabytes
    if first >= 4:
        raise SystemExit(3)
    connection.send((first, "read"))
    multiprocessing.Event().wait()


@pytest.mark.filterwarnings("ignore:os.fork")  # the child does nothing with JAX
def test_a_process_that_hangs_or_dies_is_a_failure_and_is_replaced(monkeypatch):
    monkeypatch.setattr(fuzz, "work", hanging_work)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: multiprocessing)
    found = fuzz.fuzz(["npz"], 0, minutes=1.0, seconds=0.2, gigabytes=2.0)
    outcomes = dict(next(found) for _ in range(5))
    hung = "longer than 0.2 s"
    assert outcomes == {
        0: "read",
        1: hung,
        2: "read",
        3: hung,
        4: "the process died with exit code 3",
    }
