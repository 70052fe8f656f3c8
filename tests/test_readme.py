"""The README's python runs as printed."""

import pathlib
import re

import h5py
import numpy as np

from msajax import models
from msajax.data.read import read
from msajax.data.spec import Spec
from tests.interop.test_load import random_state

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_the_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A checkpoint of MMSA's TFN on MOSI, of random values.
    spec = Spec(dims=(768, 5, 20), lengths=(50, 375, 500), num_train=1284)
    np.savez("tfn-mosi.npz", **random_state(models.get("tfn")(spec=spec, padded=True)))
    with h5py.File("features.h5", "w") as file:
        file["NAME"] = np.ones((3, 4, 5))
    made = {}
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    for block in blocks:
        names = {}
        exec(compile(block, "README.md", "exec"), names)  # its imports are its own
        made |= names
    assert len(blocks) == 3
    assert made["pred"].shape == (4,) and np.isfinite(made["pred"]).all()
    corpus = read("clips.npz", dataset="mosi")
    assert [len(corpus.splits[name]) for name in ("train", "valid", "test")] == [1] * 3
    assert corpus.splits["train"].arrays["audio"].shape == (1, 40, 74)
