"""`--mode serve`: its arguments, the address, and how it ends."""

import signal
import socket
import sys
import types

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
from msajax import main
from msajax.run import opened, signals
from msajax.serve import app, scoring, start


@pytest.fixture
def run(monkeypatch, predictor, capsys):
    """A trained run, for the command line; what it says is printed."""
    found = types.SimpleNamespace(
        clips=predictor,
        folder="runs/x",
        say=print,
        options=types.SimpleNamespace(
            system="toy",
            data=types.SimpleNamespace(dataset="mosi"),
            train=types.SimpleNamespace(seeds=(1, 2)),
        ),
        spec=types.SimpleNamespace(modalities=("text",)),
    )
    monkeypatch.setattr(opened, "open_run", lambda *_: found)
    return found


def serve(*arguments):
    return main.main(["--mode", "serve", "--workdir", "runs/x", *arguments])


def test_a_taken_port_is_told(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve("--port", port) == 1
    said = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in said


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--at-once", "0"], '"at_once" is 0: input should be greater than or equal'),
        (["--max-seconds", "nan"], '"max_seconds" is nan'),
        (["--port", "70000"], "--port is 70000; ports are 1 to 65535"),
        (["--weights", "none.pth"], "there is no file none.pth"),
        (["--weights", __file__], "--weights is of no use"),
    ],
)
def test_wrong_values_are_told(run, capsys, arguments, message):
    assert serve(*arguments) == 1
    assert message in capsys.readouterr().err


def test_the_limits_of_the_command_line_are_those_of_the_page(run, monkeypatch):
    seen = []
    monkeypatch.setattr(start, "_run", lambda server, *_: seen.append(server))
    monkeypatch.setattr(app, "make", lambda *_, **keys: seen.append(keys) or app.page)
    monkeypatch.setattr(scoring, "Scorer", lambda *_, **keys: seen.append(keys))
    limits = ["--at-once", "3", "--max-megabytes", "1.5", "--max-seconds", "7"]
    assert serve("--port", "0", *limits) == 0
    assert seen[0]["longest"] == 7 and seen[1]["host"] == "127.0.0.1"
    assert seen[1]["limits"] == app.Limits(1.5, 7, 3)
    assert not seen[1]["folder"].exists()


@pytest.mark.parametrize("host,warned", [("127.0.0.1", False), ("0.0.0.0", True)])
def test_an_address_that_others_reach_is_warned_of(
    run, monkeypatch, capsys, host, warned
):
    monkeypatch.setattr(start, "_run", lambda *_: None)
    assert serve("--host", host, "--port", "0") == 0
    said = capsys.readouterr().out
    assert f"http://{host}:" in said and ("no password" in said) == warned


def test_the_first_signal_stops_it_and_the_second_ends_the_process(
    monkeypatch, tmp_path, capsys
):
    ended, server = [], types.SimpleNamespace(should_exit=False)
    monkeypatch.setattr(signals, "end", ended.append)

    def until_signals(sockets):
        signals._hear(signal.SIGTERM)
        assert server.should_exit and not ended and tmp_path.exists()
        signals._hear(signal.SIGTERM)

    server.run = until_signals
    start._run(server, None, tmp_path)
    assert ended == [signal.SIGTERM] and not tmp_path.exists()
    assert "once more to stop at once" in capsys.readouterr().err
    tmp_path.mkdir()


def test_other_modes_have_no_address(capsys):
    with pytest.raises(SystemExit):
        main.main(["--mode", "predict", "--workdir", "x", "--port", "1"])
    assert "--port is for --mode serve; leave it out" in capsys.readouterr().err


def test_packages_that_are_missing_are_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve() == 1
    assert "pip install 'msajax[serve]'" in capsys.readouterr().err
