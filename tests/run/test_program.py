"""Programs whose output cannot be written: they do their work all the same."""

import subprocess
import sys

import jax.numpy as jnp
import pytest

from msajax.data import splits
from msajax.run import program

# It opens a file, as a run does its lock, prints, and ends by a number of its own.
WORK = """
import pathlib, sys
from msajax.run import program
program.start()
path = pathlib.Path(sys.argv[1]) / "file"
with open(path, "w") as file:
    for _ in range(2000):
        print("ü", "x" * 100)
        print("note", file=sys.stderr)
    file.write("done")
program.end(3)
"""


@pytest.mark.parametrize(
    "shell",
    [
        '"$@" >&-',
        '"$@" 2>&-',
        '"$@" <&- >&- 2>&-',
        '"$@" >/dev/full 2>&1',
        '{ "$@"; echo $? >"$3/status"; } | head -n 1; exit $(cat "$3/status")',
        'PYTHONIOENCODING=ascii "$@"',
        'LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 "$@"',
    ],
)
def test_lost_output_loses_no_work(tmp_path, shell):
    script = tmp_path / "work.py"
    script.write_text(WORK, "utf-8")
    done = subprocess.run(
        ["sh", "-c", shell, "sh", sys.executable, script, tmp_path],
        capture_output=True,
        timeout=60,
    )
    assert (tmp_path / "file").read_text() == "done"
    assert done.returncode == 3
    if "ascii" in shell:
        assert done.stdout.startswith(rb"\xfc xxx")
    assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr


NOISE = """
import asyncio, logging, sys, warnings
from msajax.run import program
program.start()
from absl.logging import get_absl_logger
logger = get_absl_logger()
error = (OSError, OSError("the cause"), None)
for path in ("/site-packages/orbax/checkpoint/future.py", "/msajax/data/store.py"):
    record = logger.makeRecord("absl", 40, path, 1, path, (), error)
    logger.handle(record)
logging.getLogger("asyncio").error("Task exception was never retrieved")
async def never(): pass
never()
class Late:
    def __del__(self): raise RuntimeError("Event loop is closed")
Late()
print("end")
program.end(0)
"""


@pytest.mark.parametrize("flag", ["", "--traceback"])
def test_of_threads_of_libraries_nothing_is_told_but_on_demand(flag):
    done = subprocess.run(
        [sys.executable, "-c", NOISE, flag], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "end\n" and "/msajax/data/store.py" in done.stderr
    for noise in ("orbax", "never retrieved", "never awaited", "loop is closed"):
        assert (noise in done.stderr) == bool(flag)


@pytest.mark.parametrize(
    ("fails", "ours"),
    [
        (lambda: splits.check_shares((1.0,), 1.0), True),
        (lambda: jnp.broadcast_to(jnp.ones((2, 2)), ()), False),
        (lambda: int("a"), False),
    ],
)
def test_whose_error_it_is(fails, ours):
    with pytest.raises(ValueError) as error:
        fails()
    assert program.is_ours(error.value) == ours
