"""Checkpoints of one seed: numbered folders, written whole or not at all, checked when read.

Several processes write and read them together, in one folder; the first one decides,
checks and cleans. Any other number of processes reads them.
"""

import contextlib
import dataclasses
import errno
import json
import pathlib
import re
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from msajax import processes
from msajax.data import durable, json_file, parts
from msajax.data.errors import DataError
from msajax.train.plan import Book, Place

# The newest may be damaged by what ended the run; the one before it is whole.
_KEEP = 2
_MANIFEST = "manifest.json"
_NAME = re.compile("[1-9][0-9]{0,17}")
# What a save that was killed leaves: its own folder and Orbax's.
_LEFT = re.compile(_NAME.pattern + r"\.part(\.orbax-checkpoint-tmp.*)?")
# Of others Orbax reads nothing back: patterns, separators, "name:/" as a kind of storage.
_SAFE = re.compile(r"[\w ./+=@,~%#-]*")


@dataclasses.dataclass(frozen=True)
class Owner:
    """Whose a checkpoint is.

    Attributes:
      seed: of the run; -1 where it has none.
      recipe: hash of the recipe that the workdir was made with.
    """

    seed: int = -1
    recipe: str = ""


@dataclasses.dataclass(frozen=True)
class _Manifest:
    """What a checkpoint says of itself; older ones lack the keys with a default.

    Attributes:
      files: checksums, as Orbax does not notice a flipped bit.
      shapes: of the arrays, by item and path.
      owner: whose it is.
      place: where the book stands.
      own: checksum of all of this: a list that lost some files is JSON all the same.
    """

    files: dict[str, int]
    shapes: dict[str, dict[str, str]]
    owner: Owner | None = None
    place: Place | None = None
    own: int | None = None

    def checksum(self) -> int:
        """What `own` has to be."""
        values = dataclasses.asdict(self) | {"own": None}
        return zlib.crc32(json.dumps(values, sort_keys=True).encode())


class Checkpoints:
    """The checkpoints in one folder, each with 'state', 'best' and 'book'.

    'state' is what training resumes from, 'best' the variables that validation
    chose (either may be missing), 'book' the plain values that belong to them.

    Args:
      folder: of the checkpoints.
      owner: whose they are; those of another one are refused.
      warn: is told of damaged ones.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        owner: Owner = Owner(),
        warn: Callable[[str], None] = print,
    ):
        self._folder = folder.resolve()
        self._owner, self._warn = owner, warn
        self._handler = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
        self._link: pathlib.Path | None = None
        self._proved = False

    def numbers(self) -> list[int]:
        """Numbers of the complete checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        found = (p for p in self._folder.iterdir() if _NAME.fullmatch(p.name))
        return sorted(int(p.name) for p in found if p.is_dir())

    def save(self, book: Book, **trees: Any) -> None:
        """Writes the next checkpoint and drops all but the last two; the first one is also read back.

        Args:
          book: where the run stands.
          **trees: 'state' and 'best', trees of arrays.

        Raises:
          OSError: the disk is full, or not writable; the checkpoints before stay.
          ValueError: what was written cannot be read back.
        """
        number = processes.from_first((self.numbers() or [0])[-1] + 1)
        part = self._folder / f"{number}.part"
        shared = {name: processes.to_global(tree) for name, tree in trees.items()}
        items = {name: ocp.args.StandardSave(tree) for name, tree in shared.items()}  # pyright: ignore
        items["book"] = ocp.args.JsonSave(dataclasses.asdict(book))  # pyright: ignore
        try:
            if processes.is_first():
                clean(self._folder)
            home = self._home()
            self._handler.save(
                home / part.name, args=ocp.args.Composite(**items), force=True
            )
            if processes.is_first():
                shapes = {name: _shapes(tree) for name, tree in trees.items()}
                made = _Manifest(_checksums(part), shapes, self._owner, book.place)
                made = dataclasses.replace(made, own=made.checksum())
                text = json.dumps(dataclasses.asdict(made))
                (part / _MANIFEST).write_text(text, "utf-8")
            if not self._proved:
                self._prove(part, trees)
        except Exception as error:
            if processes.is_first():
                clean(self._folder)
            # Orbax wraps a write that failed in errors of its own.
            free = shutil.disk_usage(self._folder.parent).free
            if "No space left" not in str(error) and free > 1 << 20:
                raise
            raise OSError(
                errno.ENOSPC,
                f"the disk is full ({free >> 20} MiB left); the checkpoint before is "
                "kept: make room and run the same command again",
                str(self._folder),
            ) from error
        if processes.is_first():
            durable.replace(part, self._folder / str(number))
            self._drop(self.numbers()[:-_KEEP])
        processes.barrier("saved")

    def _home(self) -> pathlib.Path:
        """The folder by a name that Orbax can write to and read back: a link, where its own is none."""
        if _SAFE.fullmatch(str(self._folder)):
            return self._folder
        if self._link is None:
            if not processes.is_alone():
                raise ValueError(
                    f"{self._folder} has a name that checkpoints of several processes "
                    "cannot have; take a workdir of letters, digits and . _ - +"
                )
            self._folder.mkdir(parents=True, exist_ok=True)
            stack = contextlib.ExitStack()
            place = pathlib.Path(tempfile.gettempdir()) / "checkpoints"
            folder = stack.enter_context(parts.beside(place))
            weakref.finalize(self, stack.close)
            folder.mkdir(mode=0o700)
            self._link = folder / "link"
            self._link.symlink_to(self._folder)
        return self._link

    def _prove(self, part: pathlib.Path, trees: dict[str, Any]) -> None:
        try:
            found = self._restore(part.name, trees)
            same = jax.tree.map(_equal, found, dict(trees))
        except Exception as error:
            raise ValueError(
                f"a checkpoint in {self._folder} cannot be read back ({error}); take "
                "another workdir"
            ) from error
        if not jax.tree.all(same):
            raise ValueError(
                f"a checkpoint in {self._folder} has other values when it is read back; "
                "take a workdir on another disk"
            )
        self._proved = True

    def _restore(self, name: str, like: dict[str, Any]) -> dict[str, Any]:
        """Trees of a checkpoint, placed as those they are like."""
        if not like:  # asked for nothing, Orbax would read all
            return {}
        shared = processes.to_global(like)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, shared)
        items = {k: ocp.args.StandardRestore(tree) for k, tree in abstract.items()}  # pyright: ignore
        trees = self._handler.restore(
            self._home() / name, args=ocp.args.Composite(**items)
        )
        return {k: processes.to_local(trees[k], like[k]) for k in like}

    def restore(
        self, likes: Callable[[Book], dict[str, Any]]
    ) -> tuple[Book, dict[str, Any]] | None:
        """Reads the newest checkpoint that is whole.

        Args:
          likes: from a book to {item: tree of arrays with the shapes, dtypes
            and placement to restore}; items that it leaves out are not read.

        Returns:
          (book, {item: tree}), or None where there is no checkpoint.

        Raises:
          ValueError: no checkpoint is whole, it is another seed's or another recipe's,
            or its arrays have other shapes.
        """
        found, number = None, 10**18
        while found is None:
            whole = self._whole(number) if processes.is_first() else 0
            number = processes.from_first(whole)
            if number < 0:
                raise ValueError(
                    f"no checkpoint in {self._folder} is whole; delete this folder and "
                    "run the same command: this seed starts over"
                )
            if number == 0:
                return None
            found = self._read(self._folder / str(number), likes)
        if processes.is_first():  # else a damaged one would count as one of those kept
            self._drop([other for other in self.numbers() if other > number])
        return found

    def _whole(self, below: int) -> int:
        """Number of the newest checkpoint below another that is whole; 0 where there is none at all, else -1."""
        numbers = self.numbers()
        for number in [n for n in reversed(numbers) if n < below]:
            path = self._folder / str(number)
            damage = _damage(path)
            if not damage:
                return number
            self._tell(path, damage)
        return -1 if numbers else 0

    def _tell(self, path: pathlib.Path, damage: str) -> None:
        self._warn(f"checkpoint {path} is damaged ({damage}); taking the one before")

    def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            shutil.rmtree(self._folder / str(number), ignore_errors=True)

    def _read(self, path: pathlib.Path, likes: Callable) -> tuple[Book, dict] | None:
        """What a checkpoint holds; None where a process cannot restore it."""
        manifest, book = _read_plain(path)
        self._check_owner(path, manifest)
        like = {k: tree for k, tree in likes(book).items() if (path / k).is_dir()}
        for name, tree in like.items():
            _compare(path, manifest.shapes.get(name, {}), _shapes(tree))
        trees, damage = {}, ""
        try:
            trees = self._restore(path.name, like)
        except Exception as error:  # Orbax and TensorStore raise any kind
            if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
                raise
            damage = next(iter(str(error).splitlines()), "")[:200] or repr(error)
        failed = any(processes.agree(bool(damage)))
        if failed and processes.is_first():
            self._tell(path, damage or "another process cannot restore it")
        return None if failed else (book, trees)

    def _check_owner(self, path: pathlib.Path, manifest: _Manifest) -> None:
        theirs, ours = manifest.owner, self._owner
        if theirs is None or theirs == ours:  # None: an older one
            return
        what = f"seed {theirs.seed}, not of seed {ours.seed}"
        if theirs.seed == ours.seed:
            what = "another recipe or another run than its workdir's"
        raise ValueError(
            f"{path} is a checkpoint of {what}: folders were renamed or copied. Put them "
            "back, or delete this one: the seed starts over"
        )


def clean(folder: pathlib.Path) -> None:
    """Removes what saves that did not end have left: it would keep a full disk full."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if _LEFT.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _read_plain(path: pathlib.Path) -> tuple[_Manifest, Book]:
    """The manifest and the book of a checkpoint.

    Raises:
      DataError: they are damaged, or do not belong together.
    """
    advice = "the file was changed"
    manifest = json_file.read(path / _MANIFEST, _Manifest, advice=advice)
    file = path / "book" / "metadata"
    book = json_file.read(file, Book, advice=advice, nan=True)
    if manifest.place not in (None, book.place):
        raise DataError(f"{file} stands at another step than the manifest")
    return manifest, book


def _equal(found: Any, wanted: Any) -> bool:
    """Whether arrays hold the same bits: NaN equals itself."""
    return np.asarray(found).tobytes() == np.asarray(wanted).tobytes()


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p): f"{x.dtype}{list(x.shape)}" for p, x in leaves}


def _compare(path: pathlib.Path, saved: dict[str, str], wanted: dict[str, str]) -> None:
    for key in sorted(saved.keys() | wanted.keys()):
        old, new = saved.get(key, "nothing"), wanted.get(key, "nothing")
        if old != new:
            raise ValueError(
                f"{path} was made by another system or recipe: at {key} it holds {old}, "
                f"where this one has {new}; take another workdir"
            )


def _checksums(folder: pathlib.Path) -> dict[str, int]:
    found = (p for p in sorted(folder.rglob("*")) if p.name != _MANIFEST)
    files = {p.relative_to(folder).as_posix(): p for p in found if p.is_file()}
    return {name: zlib.crc32(path.read_bytes()) for name, path in files.items()}


def _damage(folder: pathlib.Path) -> str:
    """What is wrong with the files of a checkpoint; '' where they are as written."""
    try:
        manifest = _read_plain(folder)[0]
        wanted, found = manifest.files, _checksums(folder)
    except (OSError, DataError) as error:
        return str(error)
    if manifest.own not in (None, manifest.checksum()):
        return "its manifest was changed"
    if not wanted:
        return "its manifest lists no files"
    wrong = [name for name in wanted if found.get(name) != wanted[name]]
    if manifest.own is None:  # it may have lost names; hidden files are not Orbax's
        wrong += [n for n in found if n not in wanted and re.search("/[^./][^/]*$", n)]
    return f"{wrong[0]} is missing, changed or not listed" if wrong else ""
