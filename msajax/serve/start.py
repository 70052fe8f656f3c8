"""`--mode serve`: the page of a run on an address of this machine."""

import argparse
import dataclasses
import pathlib
import socket
from collections.abc import Sequence
from typing import Any

from msajax.data import json_file
from msajax.data.errors import DataError
from msajax.media import files
from msajax.run import opened
from msajax.run.run import Run

PORT = 8000
_HEADERS = 1 << 16  # bytes of a request's first lines, which hold the transcript


def serve(args: argparse.Namespace, pairs: Sequence[tuple[str, str]]) -> int:
    """Serves until it is interrupted."""
    try:
        import uvicorn

        from msajax.serve import app, guard, scoring
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
    weights = pathlib.Path(args.weights) if args.weights else None
    scorer = scoring.Scorer(run.clips, weights=weights, longest=limits.max_seconds)
    host = args.host or "127.0.0.1"
    listening = _listen(host, args.port)
    application = app.make(scorer, about(run), host=host, limits=limits)
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=_HEADERS,
            timeout_graceful_shutdown=10,
        )
    )
    address, port = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    run.say(f"serving {run.folder} at http://{shown}:{port}/ (Ctrl-C ends it)")
    if not guard.is_loopback(address):
        run.say(
            "warning: everyone who reaches this address can send clips; there is no password "
            "and no encryption, and browsers record only at localhost or over https"
        )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn has ended, and says the signal again
        pass
    return 0


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
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise DataError(
            f"cannot listen on {host}, port {port}: {error}; name others: --host, --port"
        ) from error
