"""`--mode serve`: the page of a run on an address of this machine."""

import argparse
import dataclasses
import pathlib
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from msajax.data import json_file
from msajax.data.errors import DataError
from msajax.media import files
from msajax.run import opened, signals
from msajax.run.run import Run

PORT = 8000
SERVER: dict[str, Any] = {
    "http": "h11",
    "ws": "none",
    "lifespan": "off",
    # Our errors are printed by the application; uvicorn's are of connections that end.
    "log_level": "critical",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    # Bytes of a request's first lines, which hold the transcript.
    "h11_max_incomplete_event_size": 1 << 16,
    "timeout_graceful_shutdown": 60,
}


def serve(args: argparse.Namespace, pairs: Sequence[tuple[str, str]]) -> int:
    """Serves until it is interrupted."""
    try:
        import uvicorn

        from msajax.serve import app, scoring
    except ImportError as error:
        raise ValueError(
            f"the page needs packages that cannot be imported ({error}); install them: "
            "pip install 'msajax[serve]'"
        ) from error
    named = [field.name for field in dataclasses.fields(app.Limits)]
    given = {k: getattr(args, k) for k in named if getattr(args, k) is not None}
    limits = json_file.check(given, app.Limits)
    for name in ("av", "librosa", "soundfile", "soxr"):
        files.library(name)  # not at the first visitor
    run = opened.open_run(pathlib.Path(args.workdir), args.config or "", pairs)
    weights = files.check(args.weights) if args.weights else None
    networks = {"weights": weights, "speech_model": args.speech_model}
    scorer = scoring.Scorer(run.clips, longest=limits.max_seconds, **networks)
    host = args.host or "127.0.0.1"
    with (
        _listen(host, args.port) as listening,
        tempfile.TemporaryDirectory(prefix="msajax-serve-") as folder,
    ):
        _say_address(run, listening.getsockname())
        place = pathlib.Path(folder)
        made = app.make(scorer, about(run), folder=place, limits=limits, host=host)
        _run(uvicorn.Server(uvicorn.Config(made, **SERVER)), listening, place)
    return 0


def _say_address(run: Run, address: tuple[Any, ...]) -> None:
    from msajax.serve import guard

    host, port = address[:2]
    shown = f"[{host}]" if ":" in host else host
    run.say(f"serving {run.folder} at http://{shown}:{port}/ (Ctrl-C ends it)")
    if not guard.is_loopback(host):
        run.say(
            "warning: everyone who reaches this address can send clips; there is no password "
            "and no encryption, and browsers record only at localhost or over https"
        )


def _run(server: Any, listening: socket.socket, folder: pathlib.Path) -> None:
    """Serves until the first signal; the second one ends the process."""

    def hear(number: int) -> None:
        if server.should_exit:
            shutil.rmtree(folder, ignore_errors=True)
            signals.end(number)
        print(
            "\nstopping when the clips that are here are scored, in a minute at most; once more "
            "to stop at once",
            file=sys.stderr,
        )
        server.should_exit = True

    with signals.heard_by(hear):
        server.run(sockets=[listening])


def about(run: Run) -> dict[str, Any]:
    """What the page says of a run."""
    return {
        "system": run.options.system,
        "dataset": run.options.data.dataset,
        "modalities": list(run.spec.modalities),
        "seeds": len(run.options.train.seeds),
    }


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket at an address.

    Raises:
      DataError: it is taken, or not of this machine.
    """
    port = PORT if port is None else port
    if not 0 <= port < 1 << 16:
        raise DataError(
            f"--port is {port}; ports are 1 to 65535, and 0 takes a free one"
        )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise DataError(
            f"cannot listen on {host}, port {port}: {error.strerror}; name others: --host, --port"
        ) from error
