"""The process that runs a tokenizer, under limits of time and memory.

A tokenizer's files come from anyone, and a few lines in them can make its native
code compute or allocate without end, which neither an exception nor a signal handler
of Python stops. So it runs in a process of its own, which the system ends at a limit:

    python -P tokenizer_process.py JOB

JOB is a folder. Into it go `job.json` with {"max_length", "texts"} and `tokenizer/`
with the files; out of it come `pieces.npz`, or else `error`, and `step` says what was
done last. Nothing of msajax is imported, so that the process starts fast.
"""

import json
import os
import pathlib
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# Seconds of computing, a hundred times what tokenizers take: to load, more for each
# byte of the files; for a block of texts, more for each character.
_LOAD, _PER_BYTE, _BLOCK, _PER_CHARACTER = 10, 1e-6, 2, 2e-5
# Bytes of memory, several times what tokenizers take: in any case, for each byte of the
# files and texts, and for each place of the result.
_MEMORY, _MEMORY_PER_BYTE, _MEMORY_PER_PLACE = 2**29, 64, 32
# Texts in a block.
_ROWS = 512

ADVICE = "copy its files again, or choose another encoder"
NO_MEMORY = f"its tokenizer takes more memory than any should; {ADVICE}"

Within = Callable[[str, float], None]


class _Refusal(ValueError):
    """An error whose message needs no addition."""


def make(job: pathlib.Path, *, within: Within = lambda step, seconds: None) -> None:
    """Does a job.

    Args:
      job: folder as above; the arrays in `pieces.npz` have the names of
        `tokenize.Pieces`.
      within: called before each step, with what it does and the seconds it may take.
    """
    task = json.loads((job / "job.json").read_bytes())
    try:
        tokenizer = _load(job / "tokenizer", task["max_length"], within)
        arrays = _pieces(tokenizer, task["texts"], task["max_length"], within)
    except _Refusal as error:
        (job / "error").write_text(str(error), "utf-8")
    except MemoryError:
        (job / "error").write_text(NO_MEMORY, "utf-8")
    except Exception as error:  # whatever a tokenizer's own code raises
        reason = f"{type(error).__name__}: {ascii(str(error)[:200])[1:-1]}"
        (job / "error").write_text(
            f"its tokenizer cannot be used ({reason}); {ADVICE}", "utf-8"
        )
    else:
        np.savez(job / "pieces.npz", **arrays)  # pyright: ignore


def _load(folder: pathlib.Path, max_length: int, within: Within) -> Any:
    within("to load it", _LOAD + _PER_BYTE * _size(folder))
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if not tokenizer.is_fast:
        raise _Refusal(
            f"{type(tokenizer).__name__} does not say where in the text a piece is; add "
            "the tokenizer.json that belongs to it"
        )
    within("for an empty text", _BLOCK)
    if not (special := len(tokenizer("")["input_ids"])) < max_length:
        raise _Refusal(
            f"config.text.max_length is {max_length}, but {special} of them are "
            "special tokens; give more"
        )
    return tokenizer


def _pieces(
    tokenizer: Any, texts: list[str], max_length: int, within: Within
) -> dict[str, np.ndarray]:
    ids, types = np.zeros((2, len(texts), max_length), np.int32)
    word = np.full(ids.shape, -1, np.int32)
    length, cut = np.zeros(len(texts), np.int32), np.zeros(len(texts), bool)
    for start in range(0, len(texts), _ROWS):
        block = texts[start : start + _ROWS]
        count = sum(map(len, block))
        seconds = _BLOCK + _PER_CHARACTER * count
        within(f"for {len(block)} texts of {count} characters", seconds)
        encoded = tokenizer(
            block,
            truncation=True,
            max_length=max_length,
            padding=False,
            return_token_type_ids=True,
        ).encodings
        for i, (text, row) in enumerate(zip(block, encoded, strict=True), start):
            _check_ids(row)
            n = len(row.ids)
            ids[i, :n], types[i, :n] = row.ids, row.type_ids
            # A piece may begin with the space before its word, so its end counts.
            spaces = np.cumsum([0, *(c == " " for c in text)])
            places = spaces[[end for _, end in row.offsets]]
            word[i, :n] = np.where(row.special_tokens_mask, -1, places)
            length[i], cut[i] = n, bool(row.overflowing)
    return {"ids": ids, "type": types, "word": word, "length": length, "cut": cut}


def _check_ids(row: Any) -> None:
    if (high := max(row.ids, default=0)) >= 2**31:
        token = ascii(row.tokens[row.ids.index(high)][:40])
        raise _Refusal(
            f"its tokenizer gives {token} the id {high}, but ids end at {2**31 - 1}; "
            + ADVICE
        )


def _size(folder: pathlib.Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _limit(kind: int, value: float) -> None:
    """Sets a limit of this process, as far as its user's hard limit allows."""
    hard = resource.getrlimit(kind)[1]
    low = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (int(low), hard))


def _limit_memory(job: pathlib.Path) -> None:
    """Limits what is allocated from here on, where the system says what has been."""
    pages = pathlib.Path("/proc/self/statm")
    if not pages.exists():
        return
    task = json.loads((job / "job.json").read_bytes())
    places = len(task["texts"]) * task["max_length"]
    size = _size(job / "tokenizer") + (job / "job.json").stat().st_size
    budget = _MEMORY + _MEMORY_PER_BYTE * size + _MEMORY_PER_PLACE * places
    used = int(pages.read_text().split()[5]) * resource.getpagesize()
    _limit(resource.RLIMIT_DATA, used + budget)


def main(job: pathlib.Path) -> None:
    """Does a job under limits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run answers to Ctrl-C
    import transformers

    _ = transformers.AutoTokenizer  # is imported now, before there is a limit
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(job)

    def within(step: str, seconds: float) -> None:
        (job / "step").write_text(f"{seconds:.0f} s {step}", "utf-8")
        # The limit is on all that the process has computed.
        _limit(resource.RLIMIT_CPU, time.process_time() + seconds + 1)

    make(job, within=within)


if __name__ == "__main__":
    os.environ.setdefault("RAYON_NUM_THREADS", str(min(8, os.cpu_count() or 1)))
    main(pathlib.Path(sys.argv[1]))
