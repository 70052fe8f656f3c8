"""Damaged and hostile files of every format: a clean load or a DataError, nothing else.

Each format's files are read in a process of its own, under limits of memory and time.
`MSAJAX_FUZZ=12000` reads as many of each format, and -s shows the worst of them.
"""

import json
import os
import pathlib
import pickle
import random
import subprocess
import sys

import pytest

from tests.data import mutants

FILES = int(os.environ.get("MSAJAX_FUZZ", "120"))  # of each format
ROOT = pathlib.Path(__file__).parent.parent.parent


def run(*args):
    """The lines of JSON that tests/data/limited.py prints."""
    command = [sys.executable, "-m", "tests.data.limited", *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", mutants.STRUCTURED)
def test_a_damaged_file_is_read_or_refused(name, tiny_files, write, tmp_path):
    original = write(tiny_files[name.replace("store", "npz")], "original")
    if name == "store":
        original = store_of(original, tmp_path)
    (worst,) = run("fuzz", name, original, FILES)
    print(worst)
    assert FILES // 10 < worst["refused"] < FILES


def store_of(path, folder):
    from msajax.data import prepared
    from msajax.data.read import read

    return prepared.write(read(path, dataset="mosi"), folder / "new")


def test_the_hostile_pickles_of_the_fuzz_test_are_hostile(tiny_files, tmp_path):
    content = bytearray(tiny_files["mmsa"])
    rng = random.Random(1)
    for i in range(200):
        canary = tmp_path / f"canary{i}"
        mutants.opcodes(rng, trial := bytearray(content), canary)
        if str(canary).encode() not in trial:
            continue  # the others may crash the unpickler
        try:
            pickle.loads(bytes(trial))
        except Exception:
            continue
    assert any(tmp_path.glob("canary*"))
