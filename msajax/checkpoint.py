"""Checkpoints of one seed: numbered folders, written whole or not at all, checked when read."""

import errno
import pathlib
import shutil
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

# The newest may be damaged by what ended the run; the one before it is whole.
_KEEP = 2


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
        digests = {name: _digest(tree) for name, tree in trees.items()}
        number = (self.numbers() or [0])[-1] + 1
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}  # pyright: ignore
        items["book"] = ocp.args.JsonSave({**book, "digests": digests})  # pyright: ignore
        try:
            self._handler.save(
                self._folder / str(number), args=ocp.args.Composite(**items)
            )
        except Exception as error:
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
        for old in self.numbers()[:-_KEEP]:
            shutil.rmtree(self._folder / str(old), ignore_errors=True)

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
          ValueError: there are checkpoints, but none can be read.
        """
        numbers = self.numbers()
        for number in reversed(numbers):
            try:
                return self._read(self._folder / str(number), likes)
            except Exception as error:
                reason = str(error).strip().splitlines()[0][:200] or repr(error)
                self._warn(
                    f"checkpoint {self._folder / str(number)} cannot be read "
                    f"({type(error).__name__}: {reason}); trying the one before it"
                )
        if not numbers:
            return None
        raise ValueError(
            f"no checkpoint in {self._folder} can be read. If the recipe changed, take "
            "another workdir; if the files are damaged, delete this folder and run the "
            "same command: this seed starts over"
        )

    def _read(self, path: pathlib.Path, likes: Callable) -> tuple[dict, dict]:
        book_only = ocp.args.Composite(book=ocp.args.JsonRestore())  # pyright: ignore
        book = self._handler.restore(path, args=book_only)["book"]
        digests = book.pop("digests")
        like = {name: tree for name, tree in likes(book).items() if name in digests}
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = {name: ocp.args.StandardRestore(t) for name, t in abstract.items()}  # pyright: ignore
        trees = dict(self._handler.restore(path, args=ocp.args.Composite(**items)))
        trees = {name: trees[name] for name in like}
        for name, tree in trees.items():
            if _digest(tree) != digests[name]:
                raise ValueError(
                    f'the arrays of "{name}" are not those that were saved'
                )
        return book, trees


def _digest(tree: Any) -> int:
    crc = 0
    for leaf in jax.tree.leaves(tree):
        crc = zlib.crc32(np.ascontiguousarray(jax.device_get(leaf)).tobytes(), crc)
    return crc
