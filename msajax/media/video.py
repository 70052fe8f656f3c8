"""Video to pictures at a chosen rate: one after the other, so that memory does not grow with length."""

import contextlib
import os
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from msajax.data.errors import DataError
from msajax.media import files

# Of the pictures of networks, as in the preparation of ImageNet: 256 pixels, 224 cut out.
MARGIN = 256 / 224
_T = TypeVar("_T")
_PIXELS = 1 << 26  # of a decoded frame; 8K has half as many


def pictures(
    path: str | os.PathLike[str],
    *,
    rate: float,
    size: int,
    margin: float = 1.0,
    grey: bool = False,
) -> Iterator[np.ndarray]:
    """The pictures of a video's first track that are shown at 0, 1 / rate, 2 / rate, ... seconds.

    Args:
      path: of the file.
      rate: pictures a second; above the video's own rate pictures repeat.
      size: pixels of a side.
      margin: the shorter side is resized to `margin * size` pixels before the square in
        the middle is cut out.
      grey: whether to leave the colours out.

    Yields:
      [size, size, 3] uint8 in red, green, blue; without colours [size, size].

    Raises:
      DataError: no file, a damaged one, or one without video.
    """
    with files.opened(path) as container:
        stream = files.track(container, "video", path)
        _check_size(stream.codec_context, path)
        own = float(stream.average_rate or rate)
        start, count, last, end = 0.0, 0, None, 0.0
        for number, frame in enumerate(container.decode(stream)):
            time = frame.time if frame.time is not None else number / own
            start = time if last is None else start
            while last is not None and count / rate < time - start - 1e-6:
                yield _square(last, size, margin, grey)
                count += 1
            last, end = frame, time - start + 1 / own
        if last is None:
            raise DataError(
                f"{path} has a video track without pictures; record it again"
            )
        files.check_whole(stream, end, path)
        while count / rate < end - 1e-6:
            yield _square(last, size, margin, grey)
            count += 1


def _check_size(codec: Any, path: str | os.PathLike[str]) -> None:
    """Refuses frames that take gigabytes, which a file of some bytes can hold.

    FFmpeg refuses those that come later, in a file that states smaller ones.
    """
    if codec.width * codec.height > _PIXELS:
        raise DataError(
            f"{path} has frames of {codec.width} x {codec.height} pixels; at most "
            f"{_PIXELS / 1e6:.0f} million pixels are decoded: convert it to smaller ones"
        )
    codec.options = {"max_pixels": str(_PIXELS)}


def _square(frame: Any, size: int, margin: float, grey: bool) -> np.ndarray:
    """The middle of a frame, upright."""
    scale = margin * size / min(frame.width, frame.height)
    width, height = (max(size, round(scale * x)) for x in (frame.width, frame.height))
    small = frame.reformat(
        width=width,
        height=height,
        format="gray" if grey else "rgb24",
        interpolation="BICUBIC",
    )
    top, left = (height - size) // 2, (width - size) // 2
    square = small.to_ndarray()[top : top + size, left : left + size]
    # Telephones record sideways and say so; the angle is counterclockwise.
    return np.ascontiguousarray(np.rot90(square, round(frame.rotation / 90)))


def ahead(items: Iterable[_T], *, depth: int = 2) -> Iterator[_T]:
    """The same items, of which up to `depth` more are made meanwhile by a thread."""
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stopped, end = threading.Event(), object()

    def put(item: Any, error: BaseException | None = None) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((item, error), timeout=0.1)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(end)
        except BaseException as error:  # raised again where the items are used
            put(end, error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def batches(items: Iterable[np.ndarray], *, size: int) -> Iterator[np.ndarray]:
    """Stacks of `size` arrays; the last one may have fewer."""
    part: list[np.ndarray] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield np.stack(part)
            part = []
    if part:
        yield np.stack(part)
