"""Checkpoints of one seed: numbered folders, written whole or not at all, checked when read.

Several processes write and read them together, in a folder that all of them see;
the first one decides, checks and cleans. Any other number of processes reads them.
"""

import errno
import json
import pathlib
import shutil
import zlib
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp

from msajax import processes

# The newest may be damaged by what ended the run; the one before it is whole.
_KEEP = 2

# Checksums of the files, as Orbax does not notice a flipped bit, and shapes.
_MANIFEST = "manifest.json"


class Checkpoints:
    """The checkpoints in one folder, each with 'state', 'best' and 'book'.

    'state' is what training goes on from, 'best' the variables that validation
    chose (either may be missing), 'book' the plain values that belong to them.
    """

    def __init__(self, folder: pathlib.Path, *, warn: Callable[[str], None] = print):
        self._folder = folder.resolve()
        self._warn = warn
        self._handler = ocp.Checkpointer(ocp.CompositeCheckpointHandler())

    def numbers(self) -> list[int]:
        """Numbers of the complete checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(int(p.name) for p in self._folder.iterdir() if p.name.isdigit())

    def save(self, book: dict[str, Any], **trees: Any) -> None:
        """Writes the next checkpoint and drops all but the last two.

        Args:
          book: values that JSON can hold.
          **trees: 'state' and 'best', trees of arrays.

        Raises:
          OSError: the disk is full, or not writable; the checkpoints before stay.
        """
        number = processes.from_first((self.numbers() or [0])[-1] + 1)
        part = self._folder / f"{number}.part"
        shared = {name: processes.to_global(tree) for name, tree in trees.items()}
        items = {name: ocp.args.StandardSave(tree) for name, tree in shared.items()}  # pyright: ignore
        items["book"] = ocp.args.JsonSave(book)  # pyright: ignore
        try:
            self._handler.save(part, args=ocp.args.Composite(**items), force=True)
            if processes.is_first():
                shapes = {name: _shapes(tree) for name, tree in trees.items()}
                manifest = {"files": _checksums(part), "shapes": shapes}
                (part / _MANIFEST).write_text(json.dumps(manifest), "utf-8")
        except Exception as error:
            if processes.is_first():
                shutil.rmtree(part, ignore_errors=True)
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
            part.rename(self._folder / str(number))
            self._drop(self.numbers()[:-_KEEP])
        processes.barrier("saved")

    def restore(
        self, likes: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Reads the newest checkpoint that is whole.

        Args:
          likes: from a book to {item: tree of arrays with the shapes, dtypes
            and placement to restore}; items that it leaves out are not read.

        Returns:
          (book, {item: tree}), or None where there is no checkpoint.

        Raises:
          ValueError: no checkpoint is whole, or its arrays have other shapes.
        """
        number = processes.from_first(self._whole() if processes.is_first() else 0)
        if number < 0:
            raise ValueError(
                f"no checkpoint in {self._folder} is whole; delete this folder and run "
                "the same command: this seed starts over"
            )
        if number == 0:
            return None
        found = self._read(self._folder / str(number), likes)
        if processes.is_first():  # else a damaged one would count as one of those kept
            self._drop([other for other in self.numbers() if other > number])
        return found

    def _whole(self) -> int:
        """Number of the newest checkpoint that is whole; 0 where there is none at all, else -1."""
        numbers = self.numbers()
        for number in reversed(numbers):
            path = self._folder / str(number)
            damage = _damage(path)
            if not damage:
                return number
            self._warn(
                f"checkpoint {path} is damaged ({damage}); taking the one before"
            )
        return -1 if numbers else 0

    def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            shutil.rmtree(self._folder / str(number), ignore_errors=True)

    def _read(self, path: pathlib.Path, likes: Callable) -> tuple[dict, dict]:
        book_only = ocp.args.Composite(book=ocp.args.JsonRestore())  # pyright: ignore
        book = self._handler.restore(path, args=book_only)["book"]
        like = {k: tree for k, tree in likes(book).items() if (path / k).is_dir()}
        if not like:  # asked for nothing, Orbax would read all
            return book, {}
        saved = json.loads((path / _MANIFEST).read_text("utf-8"))["shapes"]
        for name, tree in like.items():
            _compare(path, saved[name], _shapes(tree))
        shared = processes.to_global(like)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, shared)
        items = {name: ocp.args.StandardRestore(t) for name, t in abstract.items()}  # pyright: ignore
        trees = self._handler.restore(path, args=ocp.args.Composite(**items))
        return book, {k: processes.to_local(trees[k], like[k]) for k in like}


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
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes())
        for path in files
        if path.name != _MANIFEST
    }


def _damage(folder: pathlib.Path) -> str:
    """What is wrong with the files of a checkpoint; '' where they are as written."""
    try:
        wanted = json.loads((folder / _MANIFEST).read_text("utf-8"))["files"]
        found = _checksums(folder)
    except (OSError, ValueError, KeyError) as error:
        return str(error)
    wrong = [name for name in wanted if found.get(name) != wanted[name]]
    return f"{wrong[0]} is missing or changed" if wrong else ""
