"""Signals: outside a training loop they end the process in time, inside it is asked for a save."""

import signal
import subprocess
import sys
import threading

import pytest

from msajax.run import signals

# It writes a file, then is in C for minutes.
BUSY = """
import hashlib, pathlib, sys
from msajax.run import signals
from msajax.data import parts
signals.watch()
with parts.replacing(pathlib.Path(sys.argv[1]) / "a") as part:
    part.write_text("half")
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_long_call_and_leaves_nothing(tmp_path, number):
    # A shell ignores both for its background jobs, and programs inherit that.
    command = ["sh", "-c", 'trap "" INT TERM; exec "$0" -c "$@"']
    process = subprocess.Popen(
        [*command, sys.executable, BUSY, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert error == f"\nstopped by {number.name}\n"
    assert list(tmp_path.iterdir()) == []


HEARING = """
import threading
from msajax.run import signals
signals.watch()
heard = threading.Event()
with signals.heard_by(lambda number: (print(number), heard.set())):
    print("ready", flush=True)
    assert heard.wait(20)
print("after", flush=True)
threading.Event().wait()
"""


def test_who_hears_changes_while_a_signal_is_awaited():
    process = subprocess.Popen(
        [sys.executable, "-c", HEARING],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert [process.stdout.readline() for _ in range(2)] == ["15\n", "after\n"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


@pytest.fixture
def ended(monkeypatch):
    """Signals by which the process would have ended."""
    numbers = []
    monkeypatch.setattr(signals, "end", numbers.append)
    monkeypatch.setattr(signals, "_hear", numbers.append)
    return numbers


def test_a_loop_that_has_not_asked_is_ended(ended):
    with signals.Question():
        signals._hear(15)
    assert ended == [15]


def test_a_loop_that_asks_saves(ended, capfd):
    with signals.Question() as question:
        assert not question()
        signals._hear(15)
        assert "stopping after a save; once more" in capfd.readouterr().err
        assert ended == [] and question() and question.number == 15
        signals._hear(2)
    assert ended == [2]
    signals._hear(15)
    assert ended == [2, 15]


def test_a_loop_that_does_not_ask_again_is_ended(ended, monkeypatch, capfd):
    monkeypatch.setattr(signals, "_PATIENCE", 0.01)
    done = threading.Event()
    monkeypatch.setattr(signals, "end", lambda n: (ended.append(n), done.set()))
    with signals.Question() as question:
        question()
        signals._hear(15)
        assert done.wait(10)
    assert ended == [15] and "no step ended in" in capfd.readouterr().err


def test_a_loop_that_is_over_is_not_ended_later(ended, monkeypatch):
    monkeypatch.setattr(signals, "_PATIENCE", 0.05)
    before = set(threading.enumerate())
    with signals.Question() as question:
        question()
        signals._hear(15)
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert ended == []


def test_the_first_interrupt_of_a_notebook_is_a_question():
    said = []
    with signals.held_back(said.append) as question:
        with pytest.raises(KeyboardInterrupt):  # the loop compiles: nothing to save
            signal.raise_signal(signal.SIGINT)
        assert not question() and said == []
        signal.raise_signal(signal.SIGINT)
        assert question() and said == [
            "stopping after a save; once more to stop at once"
        ]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_stay():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("other"))
    try:
        with signals.held_back(heard.append) as question:
            question()
            signal.raise_signal(signal.SIGINT)
            assert heard == ["other"] and not question()
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_hear_no_interrupt():
    found = []

    def work():
        with signals.held_back(found.append) as question:
            found.append(question())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
