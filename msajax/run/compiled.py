"""Compiled programs that later runs read: JAX's cache, without the entries that it cannot use.

JAX writes an entry in place and never again: one that a full disk or a kill cut
short would be warned of, and compiled anew, by every later run.
"""

import pathlib
import re
import sys
import warnings

import jax

_MESSAGE = re.compile(
    r"Error (reading|writing) persistent compilation cache entry for '(.*?)': (.*)",
    re.DOTALL,
)


def keep(folder: pathlib.Path) -> None:
    """Lets later runs read the programs that this one compiles; no-op where that cannot be.

    Args:
      folder: of the cache.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written to keeps none
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    before, told = warnings.showwarning, set()

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        found = _MESSAGE.match(str(message))
        if not found:
            before(message, category, filename, lineno, file, line)
            return
        done, program, reason = found.groups()
        forget(folder, program)
        if done == "writing" and not told:
            told.add(done)
            print(f"compiled programs are not kept: {reason}", file=sys.stderr)

    warnings.showwarning = show


def forget(folder: pathlib.Path, program: str) -> None:
    """Removes the entries of a program's name, one of which is damaged."""
    for path in folder.glob(f"{program}-*-cache"):
        path.unlink(missing_ok=True)
