"""Reads files under limits of memory and time, in a process of its own: run as a program.

    python -m tests.data.limited read FORMAT FILE [FORMAT FILE ...]
    python -m tests.data.limited fuzz FORMAT FILE COUNT

`read` prints a line of JSON for each file: seconds, bytes and the error's text. `fuzz`
reads COUNT mutated files, or the folder of a store with mutated files in it, and prints
the worst; it stops at the first that breaks a rule, and leaves it beside FILE.
"""

import contextlib
import json
import pathlib
import random
import resource
import signal
import sys
import time

import numpy as np

from msajax.data.errors import DataError
from msajax.data.read import read
from tests.data.mutants import mutated

MEMORY = 10**9  # bytes of the process at its peak, interpreter and libraries included
SECONDS = 20  # of processor time


class TooSlow(BaseException):
    """Passes through every `except Exception` of the code that is measured."""


def limit():
    """Limits this process for good, from the memory that it has now on."""
    # Twice the bound, as memory that is never touched is not taken. The stacks of a
    # library's threads are such memory: 1.7 GB of addresses for the reader of stores.
    with open("/proc/self/status") as file:
        (size,) = (line.split()[1] for line in file if line.startswith("VmSize"))
    most = int(size) * 1024 + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def stop(*_):
        raise TooSlow

    signal.signal(signal.SIGALRM, stop)


@contextlib.contextmanager
def measured(found):
    """Writes `seconds` of processor time and `bytes` at the peak into a dict."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from here
    signal.alarm(3 * SECONDS)
    start = time.process_time()
    try:
        yield
    finally:
        signal.alarm(0)
        found["seconds"] = round(time.process_time() - start, 3)
        with open("/proc/self/status") as file:
            (peak,) = (line.split()[1] for line in file if line.startswith("VmHWM"))
        found["bytes"] = int(peak) * 1024


def measure(path, kind, **options):
    """What reading a file of a format took, {seconds, bytes, error}, and its corpus or None."""
    found, corpus = {"error": ""}, None
    dataset = "meld" if kind == "meld" else "mosi"
    try:
        with measured(found):
            corpus = read(path, dataset=dataset, **options)
    except DataError as error:
        found["error"] = str(error)
    except TooSlow:
        found["error"] = "stopped after a minute"
    return found, corpus


def fuzz(name, original, count):
    """The worst of mutated files: {files, refused, seconds, bytes}."""
    rng = random.Random(f"seed of {name}")
    canary = original.with_name("canary")
    worst = {"format": name, "files": count, "refused": 0, "seconds": 0, "bytes": 0}
    for _ in range(count):
        options = {"format": rng.choice((name, "")), "labels": rng.random() < 0.8}
        with mutated(rng, name, original, canary) as path:
            found, corpus = measure(path, name, **options)
        assert not canary.exists(), "a file ran code"
        assert found["bytes"] < MEMORY and found["seconds"] < SECONDS, found
        # A length that a pickle claims is refused before anything is allocated.
        error = found["error"].replace("the pickle asks for more memory", "")
        assert "more memory than there is" not in error, found
        assert len(found["error"].encode()) < 1000, found
        if corpus and name != "store":  # which was cleaned when it was written
            check(corpus)
        worst["refused"] += corpus is None
        for key in ("seconds", "bytes"):
            worst[key] = max(worst[key], found[key])
    return worst


def check(corpus):
    """What cleaning promises of every corpus."""
    seen = set()
    for split in corpus.splits.values():
        assert len(split) > 0
        assert not seen & set(split.ids.tolist())
        seen |= set(split.ids.tolist())
        for key, array in split.arrays.items():
            assert len(array) == len(split)
            assert array.dtype.kind in "fib" and np.isfinite(array).all()
            if key in ("text", "audio", "vision"):
                mask = split.arrays[f"{key}_mask"]
                assert not array[~mask].any()
                assert (np.diff(mask.astype(int), axis=1) <= 0).all()


def main(mode, *args):
    if mode == "fuzz":
        name, original, count = args
        measure(original, name)  # loads the libraries, and starts their threads
        limit()
        print(json.dumps(fuzz(name, pathlib.Path(original), int(count))))
    else:
        limit()
        for format, path in zip(args[::2], args[1::2], strict=True):
            print(json.dumps(measure(path, format, format=format)[0]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
