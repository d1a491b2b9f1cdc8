"""Requests to stop, in processes that are told to."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

# No Python handler runs while this computes, as during an XLA compilation.
COMPILE = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)"


def start(body, before_listening=""):
    """A process that listens, says so, and runs `body`."""
    program = (  # pytest may have been started in the background, or by nohup
        "import hashlib, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"from drifting.core import interrupts\n{before_listening}interrupts.listen()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program + textwrap.dedent(body)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process):
    """The lines that it printed last, and the seconds until its end."""
    began = time.monotonic()
    out, errors = process.communicate(timeout=60)
    return out.split(), errors.strip().splitlines(), time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("busy", ["time.sleep(60)", COMPILE])
def test_a_request_ends_a_process_with_nothing_to_save_in_one_line(number, busy):
    process = start(f"print('ready', flush=True); {busy}")
    process.stdout.readline()
    time.sleep(0.2)  # it is busy
    process.send_signal(number)
    _, errors, seconds = ended(process)
    assert process.returncode == 128 + number
    assert seconds < 5
    assert len(errors) == 1 and errors[0].startswith(f"{number.name}: stopped at once")


SAVING = """
    with interrupts.Deferral() as deferral:
        deferral.begin()
        print("ready", flush=True)
        {work}
        deferred = deferral.asked
    print("saved", deferred.name, flush=True)
    interrupts.exit_now(128 + deferred)
"""


def test_a_request_waits_for_what_is_to_be_saved():
    work = "while not deferral.asked: time.sleep(0.01)"
    process = start(SAVING.format(work=work))
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, errors, _ = ended(process)
    assert (process.returncode, out, errors) == (143, ["saved", "SIGTERM"], [])


def test_a_late_thread_does_not_end_a_process_that_has_saved():
    late = (
        "read = interrupts.os.read\n"
        "interrupts.os.read = lambda *a: (read(*a), time.sleep(1), b'\\x0f')[2]\n"
    )
    work = "while not deferral.asked: time.sleep(0.01)"
    body = SAVING.format(work=work).replace(
        "    interrupts.exit_now", "    time.sleep(2)\n    interrupts.exit_now"
    )
    process = start(body, before_listening=late)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, errors, _ = ended(process)
    assert (process.returncode, out, errors) == (143, ["saved", "SIGTERM"], [])


@pytest.mark.parametrize("work", ["time.sleep(60)", COMPILE])
def test_a_second_ctrl_c_ends_at_once(work):
    process = start(SAVING.format(work=work))
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, errors, seconds = ended(process)
    assert (process.returncode, out) == (130, []) and seconds < 5
    assert len(errors) == 1 and errors[0].startswith("SIGINT: stopped at once")


def test_a_second_sigterm_does_not_cost_the_save():
    process = start(SAVING.format(work="time.sleep(1)"))
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, _, _ = ended(process)
    assert (process.returncode, out) == (143, ["saved", "SIGTERM"])


def test_ignored_signals_stay_ignored():
    program = """
        import signal, time
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        from drifting.core import interrupts
        interrupts.listen()
        print(1, flush=True)
        time.sleep(0.5)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0
