"""The server of the page: receives a clip, has it scored, and deletes it."""

import dataclasses
import pathlib
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import anyio
import anyio.to_thread
from annotated_types import Ge, Gt, Le
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from msajax.data.errors import DataError
from msajax.run import program
from msajax.serve import page
from msajax.serve.guard import Guard

Score = Callable[
    [pathlib.Path, pathlib.Path | None, Callable[[], None]], dict[str, Any]
]
MOST_LETTERS = 2000  # of a transcript
_WAITING = 8  # visitors beside those whose clips are computed
_PATIENCE = 300.0  # seconds that an upload may take
_GONE = 499  # nobody reads this answer


@dataclasses.dataclass(frozen=True)
class Limits:
    """What visitors may ask for.

    Attributes:
      max_megabytes: of an upload.
      max_seconds: of a clip.
      at_once: predictions that are computed at the same time.
    """

    max_megabytes: Annotated[float, Gt(0), Le(100_000)] = 64.0
    max_seconds: Annotated[float, Gt(0), Le(3600)] = 60.0
    at_once: Annotated[int, Ge(1), Le(64)] = 1


class _Left(Exception):
    """The visitor has closed the page."""


class _Desk:
    """Takes clips one after the other.

    Args:
      score: called in a thread with the paths of a clip and of its transcript.
      folder: where clips lie until they are scored.
      limits: of what is taken.
    """

    def __init__(self, score: Score, folder: pathlib.Path, limits: Limits):
        self._score, self._folder, self._limits = score, folder, limits
        self._slots = anyio.CapacityLimiter(limits.at_once)
        self._visitors = 0

    async def answer(self, request: Request) -> Response:
        """The prediction for the clip that is the request's body, as JSON."""
        said = request.query_params.get("transcript", "").strip()
        if len(said) > MOST_LETTERS:
            what = f"the transcript has {len(said)} letters; at most {MOST_LETTERS} are read"
            raise HTTPException(422, what)
        if self._visitors >= self._limits.at_once + _WAITING:
            what = f"{self._visitors} clips are waiting already; try again in a minute"
            raise HTTPException(503, what, {"retry-after": "60"})
        self._visitors += 1
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                return await self._handle(request, pathlib.Path(folder), said)
        except ClientDisconnect:
            return Response(status_code=_GONE)
        finally:
            self._visitors -= 1

    async def _handle(
        self, request: Request, folder: pathlib.Path, said: str
    ) -> Response:
        """Files have names of ours: what a visitor sends is never part of a path."""
        clip, text = folder / "clip", None
        try:
            with anyio.fail_after(_PATIENCE):
                await self._receive(request, clip)
        except TimeoutError:
            what = (
                f"the clip did not arrive within {_PATIENCE:g} seconds; send it again"
            )
            raise HTTPException(408, what) from None
        if said:  # in a file, as a text that ends in .txt is taken for the path of one
            text = folder / "transcript.txt"
            text.write_text(said, "utf-8")
        response, left = Response(status_code=_GONE), threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_watch, request, left, group.cancel_scope)
            # A visitor who leaves cancels this only when the thread has ended: until
            # then the files are in use, and the place is taken.
            response = await anyio.to_thread.run_sync(
                self._compute, clip, text, left, limiter=self._slots
            )
            group.cancel_scope.cancel()
        return response

    async def _receive(self, request: Request, path: pathlib.Path) -> None:
        """Writes the body to a file, as long as it is not too large."""
        most, size = int(self._limits.max_megabytes * 1e6), 0
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > most:
            raise self._too_large(int(stated))
        with path.open("wb") as file:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise self._too_large(size)
                file.write(part)
        if not size:
            raise HTTPException(422, "no clip arrived; choose or record one")

    def _too_large(self, size: int) -> HTTPException:
        return HTTPException(
            413,
            f"the clip has {size / 1e6:.1f} MB or more; at most "
            f"{self._limits.max_megabytes:g} MB are taken: cut it, or make it smaller",
        )

    def _compute(
        self, clip: pathlib.Path, text: pathlib.Path | None, left: threading.Event
    ) -> Response:
        """The answer, or in words why there is none; runs in a thread."""

        def check() -> None:
            if left.is_set():
                raise _Left

        try:
            check()
            return JSONResponse(self._score(clip, text, check))
        except _Left:
            return Response(status_code=_GONE)
        except Exception as error:
            if isinstance(error, DataError) or (
                isinstance(error, ValueError) and program.is_ours(error)
            ):
                why = str(error).replace(str(clip), "the clip")
                why = why.replace(f"{clip.parent}/", "")
                return _told(422, why)
            return _failed(error)


async def _watch(
    request: Request, left: threading.Event, scope: anyio.CancelScope
) -> None:
    """Ends the work of a request whose visitor leaves."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    left.set()
    scope.cancel()


def _told(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status_code=status)


def _failed(error: Exception) -> Response:
    """What a visitor hears of an error of ours, whose text is for the one who serves."""
    traceback.print_exception(error, file=sys.stderr)
    return _told(500, "the clip could not be scored; the server's output says why")


def make(
    score: Score,
    about: dict[str, Any],
    *,
    folder: pathlib.Path,
    limits: Limits,
    host: str = "127.0.0.1",
) -> Starlette:
    """The application.

    Args:
      score: computes what the page shows of a clip.
      about: what the page says of the run.
      folder: where clips lie until they are scored.
      limits: of what is taken.
      host: the address that it is served on.
    """
    desk, text = _Desk(score, folder, limits), page.html()
    known = {**about, **dataclasses.asdict(limits), "letters": MOST_LETTERS}

    async def show(request: Request) -> Response:
        del request
        return HTMLResponse(text)

    async def tell(request: Request) -> Response:
        del request
        return JSONResponse(known)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        del request
        response = _told(error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response

    async def fail(request: Request, error: Exception) -> Response:
        del request
        return _failed(error)

    return Starlette(
        routes=[
            Route("/", show),
            Route("/about", tell),
            Route("/score", desk.answer, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, host=host, headers=page.headers())],
        exception_handlers={HTTPException: refuse, Exception: fail},
    )
