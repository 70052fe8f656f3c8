"""The features of all clips of a corpus, each in a file: by several processes, and resumable.

A clip that is finished is not done again, so that the same command resumes a run that was ended. A
clip that cannot be read is left out; so is one that ends its
process (a fault in a decoder), which is then found by running the clips one by one.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

import numpy as np

from msajax.data import json_file, parts
from msajax.data.errors import DataError
from msajax.data.formats import npz
from msajax.media import clips, files, openface, words
from msajax.media.settings import MediaFeatures

_SETTINGS = "settings.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """What all clips of a corpus share.

    Attributes:
      settings: of the features.
      media: folder of the clips, media/video_id/clip_id.mp4.
      done: folder of the finished clips.
      weights: of ResNet-50.
      vision_files: folder of OpenFace's or your own files.
      word_times: folder of the times of words, for features per word.
      longest: seconds that a clip may take.
    """

    settings: MediaFeatures
    media: pathlib.Path
    done: pathlib.Path
    weights: pathlib.Path | None = None
    vision_files: pathlib.Path | None = None
    word_times: pathlib.Path | None = None
    longest: float = 600.0


def find(media: pathlib.Path, name: str) -> pathlib.Path:
    """The file of a clip by its id, `video_id$_$clip_id`.

    Raises:
      DataError: there is none.
    """
    video, _, clip = name.partition("$_$")
    place, folder = media / video / clip, pathlib.PurePath(video)
    leaves = folder.is_absolute() or ".." in (*folder.parts, clip)
    if leaves or not clip or "/" in clip:
        raise DataError(
            f'"{name}" is no id of a clip in {media}; correct the label.csv'
        )
    for suffix in files.SUFFIXES:
        if (path := place.with_name(clip + suffix)).is_file():
            return path
    raise DataError(
        f"there is no file {place}.mp4 (nor with another suffix of audio or video); copy "
        "the clip there, or remove its row"
    )


def start(job: Job) -> None:
    """Makes the folder of finished clips, or takes one of the same settings.

    Raises:
      DataError: the folder is of other settings.
    """
    job.done.mkdir(parents=True, exist_ok=True)
    file, wanted = job.done / _SETTINGS, job.settings
    if file.exists():
        advice = f"remove the folder {job.done}"
        found = json_file.read(file, MediaFeatures, advice=advice)
        if found != wanted:
            raise DataError(
                f"{job.done} has clips with other settings ({found.to_json()}); remove the "
                f"folder to extract them with {wanted.to_json()}"
            )
    else:
        with parts.replacing(file) as part:
            part.write_text(wanted.to_json(), "utf-8")


@functools.cache
def _network(weights: pathlib.Path) -> Any:
    """The network of this process."""
    from msajax.media import network  # it imports jax

    return network.PictureNetwork(weights)


def work(job: Job, name: str) -> str:
    """Extracts a clip into its file, where it is not there yet; '' or why it cannot be done."""
    path: pathlib.Path | str = name
    try:
        path = find(job.media, name)
        video, _, clip = name.partition("$_$")
        file = times = None
        if job.vision_files and job.settings.vision:
            kind = job.settings.vision.kind
            file = openface.find(job.vision_files, video, clip, kind=kind)
        if job.word_times:
            times = words.find(job.word_times, video, clip)
        stamp = "; ".join(_stamp(source) for source in (path, file, times) if source)
        if _is_done(job, name, stamp):
            return ""
        found = clips.extract(
            *(path, job.settings),
            network=_network(job.weights) if job.weights else None,
            vision_file=file,
            word_times=words.read(times) if times else (),
            longest=job.longest,
        )
        with parts.replacing(file_of(job, name)) as part, part.open("wb") as to:
            np.savez(
                to,
                audio=found.audio,
                vision=found.vision,
                notes=np.array(found.notes, "U200"),
                stamp=np.array(stamp),
            )
    except (ValueError, MemoryError) as error:
        return str(error) or "it takes more memory than there is"
    except OSError as error:
        if error.errno in (28, 122):  # no space, or quota: no clip is at fault
            raise
        return str(error)
    except (
        Exception
    ) as error:  # what libraries raise on a damaged file is not listed anywhere
        return f"{path} cannot be read: {type(error).__name__}: {error}"
    return ""


def file_of(job: Job, name: str) -> pathlib.Path:
    """Where the features of a clip are, once it is finished."""
    return job.done / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.npz"


def _stamp(path: pathlib.Path) -> str:
    found = path.stat()
    return f"{path} {found.st_size} {found.st_mtime_ns}"


def _is_done(job: Job, name: str, stamp: str) -> bool:
    file = file_of(job, name)
    if not file.exists():
        return False
    try:
        return str(npz.load(file, ("stamp",))["stamp"]) == stamp
    except (DataError, KeyError):
        return False


def run(
    job: Job, names: Iterable[str], *, workers: int, told: Callable[[], object]
) -> dict[str, str]:
    """Extracts clips.

    Args:
      job: what they share.
      names: their ids.
      workers: processes; 0 for this one.
      told: called after each clip.

    Returns:
      By id why a clip was left out.

    Raises:
      OSError: the disk is full.
    """
    start(job)
    failed, waiting = {}, list(names)
    if not workers:
        for name in waiting:
            failed[name] = work(job, name)
            told()
        return {name: why for name, why in failed.items() if why}
    while waiting:
        suspects = []
        for name, why in _pooled(job, waiting, workers):
            if why is None:
                suspects.append(name)
            else:
                failed[name] = why
                told()
        for name in suspects:
            for _, why in _pooled(job, [name], 1):
                failed[name] = (
                    "it ended the process that read it" if why is None else why
                )
                told()
        waiting = [name for name in waiting if name not in failed]
    return {name: why for name, why in failed.items() if why}


def _pooled(
    job: Job, names: list[str], workers: int
) -> Iterator[tuple[str, str | None]]:
    """Each clip that was run and its result; None where its process may have died of it."""
    _start_tracker()
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )
    waiting, running = iter(names), {}
    with pool:
        while True:
            with contextlib.suppress(BrokenProcessPool):
                # Few at a time: those that a dying process takes along are run again.
                for name in waiting:
                    running[pool.submit(work, job, name)] = name
                    if len(running) >= 2 * workers:
                        break
            if not running:
                return
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            broken = False
            for future in done:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    result, broken = None, True
                yield running.pop(future), result
            if broken:
                yield from ((name, None) for name in running.values())
                return


def _start_tracker() -> None:
    """Starts the tracker of processes, which the first of them would start otherwise.

    It unblocks signals that the program blocks to hear them elsewhere, and it warns of
    what a program leaves behind that a signal ends.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    resource_tracker.ensure_running()
    sys.warnoptions.pop()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end_with_parent() -> None:
    """Ends this worker when the program ends that started it, however it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
