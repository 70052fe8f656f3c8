"""The process that runs a tokenizer, under limits of time and memory.

A tokenizer's files come from anyone, and a few lines in them can make its native
code compute or allocate without end, which neither an exception nor a signal handler
of Python stops. So it runs in a process of its own, which the system ends at a limit:

    python -P tokenizer_process.py JOB

JOB is a folder. Into it go `job.json` with {"max_length", "prefix", "texts", "context"} and
`tokenizer/` with the files; out of it come `pieces.npz`, or else `error`, and `step` says what was
done last. Nothing of msajax is imported, so that the process starts fast.
"""

import json
import os
import pathlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

# Seconds of computing, a hundred times what tokenizers take: to load, more for each
# byte of the files; for a block of texts, more for each character.
_LOAD, _PER_BYTE, _BLOCK, _PER_CHARACTER = 10, 1e-6, 2, 2e-5
# And to join texts, twenty times what it takes: for each neighbour, and each place.
_PER_NEIGHBOUR, _PER_JOINED = 2e-4, 2e-5
# Bytes of memory, several times what tokenizers take: in any case, for each byte of the
# files and texts, and for each place of the result.
_MEMORY, _MEMORY_PER_BYTE, _MEMORY_PER_PLACE = 2**29, 64, 32
# Texts in a block.
_ROWS = 512
_NONE = np.zeros(0, np.int32)  # the pieces of a neighbour that is missing

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
    texts, length, prefix = (task[key] for key in ("texts", "max_length", "prefix"))
    try:
        tokenizer = _load(job / "tokenizer", length, prefix, within)
        given = tokenizer, texts, length, prefix
        if (context := task["context"]) is None:
            arrays = _pieces(*given, within)
        else:
            arrays = _in_context(*given, context, within)
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


def _load(folder: pathlib.Path, max_length: int, prefix: str, within: Within) -> Any:
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
    within("for an empty text", _BLOCK + _PER_CHARACTER * len(prefix))
    if not (special := len(tokenizer(prefix)["input_ids"])) < max_length:
        raise _Refusal(
            f"config.text.max_length is {max_length}, but {special} of them are special "
            "tokens and of config.text.prefix; give more"
        )
    return tokenizer


def _pieces(
    tokenizer: Any, texts: list[str], max_length: int, prefix: str, within: Within
) -> dict[str, np.ndarray]:
    ids, types = np.zeros((2, len(texts), max_length), np.int32)
    word = np.full(ids.shape, -1, np.int32)
    length, cut = np.zeros(len(texts), np.int32), np.zeros(len(texts), bool)
    options = dict(truncation=True, max_length=max_length)
    texts = [prefix + text for text in texts]
    for i, (text, row) in enumerate(_encode(tokenizer, texts, options, within)):
        n, words = len(row.ids), _words(text, row, len(prefix))
        ids[i, :n], types[i, :n], word[i, :n] = row.ids, row.type_ids, words
        length[i], cut[i] = n, bool(row.overflowing)
    return {"ids": ids, "type": types, "word": word, "length": length, "cut": cut}


def _encode(
    tokenizer: Any, texts: list[str], options: dict[str, Any], within: Within
) -> Iterator[tuple[str, Any]]:
    """Each text and its pieces."""
    for start in range(0, len(texts), _ROWS):
        block = texts[start : start + _ROWS]
        count = sum(map(len, block))
        seconds = _BLOCK + _PER_CHARACTER * count
        within(f"for {len(block)} texts of {count} characters", seconds)
        made = tokenizer(block, padding=False, return_token_type_ids=True, **options)
        for text, row in zip(block, made.encodings, strict=True):
            _check_ids(row)
            yield text, row


def _words(text: str, row: Any, start: int = 0) -> np.ndarray:
    """The word of each piece of a text behind its first characters; -1 on special tokens and in front: [n]."""
    # A piece may begin with the space before its word, so its end counts.
    spaces = np.cumsum([0, *(c == " " for c in text)])
    ends = np.array([end for _, end in row.offsets], int)
    none = (ends <= start) & (start > 0) | np.array(row.special_tokens_mask, bool)
    return np.where(none, -1, spaces[ends] - spaces[start]).astype(np.int32)


class _Template(NamedTuple):
    """What a tokenizer puts around texts: (id, segment) pairs.

    Attributes:
      front, between, end: special tokens; those in front with the prefix.
      mark: those in front of the utterance itself, and who speaks.
      own, other: segment of the utterance itself and of its neighbours.
      end_stays: a text that is too long loses its beginning, not its end.
    """

    front: list[tuple[int, int]]
    between: list[int]
    end: list[tuple[int, int]]
    mark: list[int]
    own: int
    other: int
    end_stays: bool


def _in_context(
    tokenizer: Any,
    texts: list[str],
    max_length: int,
    prefix: str,
    context: dict[str, Any],
    within: Within,
) -> dict[str, np.ndarray]:
    """As `_pieces`, with the pieces of other texts before and behind; see `context.Neighbours`."""
    template = _template(tokenizer, context)

    def encoded(texts: list[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        rows = _encode(tokenizer, texts, dict(add_special_tokens=False), within)
        return [(np.array(row.ids, np.int32), _words(text, row)) for text, row in rows]

    (start, _), *pieces = encoded([prefix, *texts])
    front = [*template.front, *((i, template.own) for i in start.tolist())]
    template, said = template._replace(front=front), pieces
    own = [(_NONE, _NONE)] * len(texts)
    if names := context.get("marks"):  # who speaks
        said = encoded([" ".join(pair) for pair in zip(names, texts, strict=True)])
        own = encoded(names)
    rows, before = context["rows"], context["before"]
    seconds = _BLOCK + _PER_NEIGHBOUR * sum(map(len, rows))
    seconds += _PER_JOINED * len(texts) * max_length
    within(f"to join {len(texts)} texts with their neighbours", seconds)
    shape = (len(texts), max_length)
    found = {key: np.zeros(shape, np.int32) for key in ("ids", "type")}
    found |= {"word": np.full(shape, -1, np.int32), "own": np.zeros(shape, bool)}
    found |= {key: np.zeros(len(texts), bool) for key in ("cut", "short")}
    found["length"] = np.zeros(len(texts), np.int32)
    for i, places in enumerate(rows):
        around = [said[row][0] if row >= 0 else _NONE for row in places]
        whole = template._replace(mark=[*template.mark, *own[i][0].tolist()])
        made = _join(pieces[i], around, before, whole, max_length=max_length)
        for key, values in made.items():
            where = (i, slice(len(values))) if isinstance(values, tuple) else i
            found[key][where] = values
    return found


def _template(tokenizer: Any, context: dict[str, Any]) -> _Template:
    """What the tokenizer puts around one text and between two, seen from an example."""
    (pair,) = tokenizer(["a"], ["a"], return_token_type_ids=True).encodings
    (alone,) = tokenizer(["a"], return_token_type_ids=True).encodings
    texts = [[i for i, s in enumerate(pair.sequence_ids) if s == k] for k in (0, 1)]
    single = [i for i, s in enumerate(alone.sequence_ids) if s == 0]
    if not all((*texts, single)) or texts[0][-1] + 1 == texts[1][0]:
        raise _Refusal(
            "its tokenizer puts no token between two texts, which config.text.context "
            "needs to tell them apart; set it to 0, or choose another encoder"
        )
    special = list(zip(alone.ids, alone.type_ids, strict=True))
    own, other = alone.type_ids[single[0]], pair.type_ids[texts[1][0]]
    if not context["segments"]:
        other = own
    mark = context["mark"] == "always" or context["mark"] == "auto" and own == other
    return _Template(
        front=special[: single[0]],
        between=pair.ids[texts[0][-1] + 1 : texts[1][0]],
        end=special[single[-1] + 1 :],
        mark=[_mark(tokenizer)] if mark else [],
        own=own,
        other=other,
        end_stays=tokenizer.truncation_side == "left",
    )


def _mark(tokenizer: Any) -> int:
    """The id of the token that marks an utterance among its neighbours: <cls>, or the first extra one."""
    extra = getattr(tokenizer, "extra_special_tokens", [])
    names = [tokenizer.cls_token, *(extra if isinstance(extra, list) else [])]
    name = next((name for name in names if name), None)
    if name is None:
        raise _Refusal(
            "its tokenizer has no special token to mark an utterance among its neighbours "
            'with; set config.text.context_mark="never"'
        )
    return tokenizer.convert_tokens_to_ids(str(name))


def _join(
    text: tuple[np.ndarray, np.ndarray],
    around: list[np.ndarray],
    before: int,
    template: _Template,
    *,
    max_length: int,
) -> dict[str, Any]:
    """A text with its neighbours, in at most max_length pieces.

    The text keeps all the pieces that it has alone. What is left goes to the mark, to
    the separators, and then to the neighbours' pieces, from the nearest one on.

    Args:
      text: its pieces and their words.
      around: pieces of the neighbours in the order of time; a missing one has none.
      before: how many of them are before the text.
      template, max_length: as above.

    Returns:
      A row of the arrays of `tokenize.Pieces`, without padding.
    """
    front, between, end, mark, own, other, end_stays = template
    room = max_length - len(front) - len(end)
    ids, words = (x[-room:] if end_stays else x[:room] for x in text)
    left = room - len(ids)
    mark = mark[:left]
    left -= len(mark)
    # The nearest first, of two equally near ones the earlier.
    near = sorted(range(len(around)), key=lambda i: (_distance(i, before), i))
    near = near[: left // len(between)]
    left -= len(near) * len(between)
    kept = {}
    for i in near:
        x = around[i]
        left -= (count := min(left, len(x)))
        kept[i] = x[len(x) - count :] if i < before else x[:count]
    row: list[tuple[int, int, int, bool]]
    row = [(*token, -1, True) for token in front]
    for i in sorted(i for i in kept if i < before):
        row += [(int(x), other, -1, False) for x in (*kept[i], *between)]
    row += [(x, own, -1, False) for x in mark]
    both = zip(ids.tolist(), words.tolist(), strict=True)
    row += [(x, own, w, True) for x, w in both]
    segment = own  # a separator has that of the text before it
    for i in sorted(i for i in kept if i >= before):
        row += [(x, segment, -1, False) for x in between]
        segment = other
        row += [(int(x), segment, -1, False) for x in kept[i]]
    row += [(*token, -1, True) for token in end]
    short = any(len(x) > len(kept.get(i, _NONE)) for i, x in enumerate(around))
    columns = zip(*row, strict=True)
    values = dict(zip(("ids", "type", "word", "own"), columns, strict=True))
    return {**values, "length": len(row), "cut": len(text[0]) > room, "short": short}


def _distance(i: int, before: int) -> int:
    return before - i if i < before else i - before + 1


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
