"""Runs an exported system; needs jax, numpy and flatbuffers alone.

    import load
    system = load.System("exported")
    system.example(2)           # a batch of the right fields, shapes and types
    system(batch)               # predictions [B], or logits [B, C]; of dialogues [B, U, C]

or, for a batch in a file: python load.py FOLDER batch.npz > predictions.txt, a line for each
row or, of dialogues, for each turn, padding too. Of a system that writes labels as text, a
text may be none: the prediction is then a substitute, 0 or neutral, and the last number of the
line is 1, else 0
"""

import json
import pathlib
import sys
import warnings

import jax
import numpy as np
from jax import export

_DTYPES = {"F32": "float32", "I32": "int32", "U32": "uint32", "BOOL": "bool"}


class System:
    """A trained system.

    Attributes:
      facts: what facts.json says: system, dataset, classes, label_range, and of each field
        of a batch its shape after the rows and its type.
    """

    def __init__(self, folder):
        """The system of a folder."""
        folder = pathlib.Path(folder)
        self.facts = json.loads((folder / "facts.json").read_text("utf-8"))
        program = (folder / "program.bin").read_bytes()
        self._call = jax.jit(export.deserialize(bytearray(program)).call)
        found = _safetensors(folder / "parameters.safetensors")
        self._variables = {k: jax.device_put(x) for k, x in found.items()}

    def example(self, rows):
        """A batch of zeros, every step real."""
        batch = {}
        for name, (shape, dtype) in self.facts["fields"].items():
            fill = np.ones if dtype == "bool" else np.zeros
            batch[name] = fill((rows, *shape), dtype)
        return batch

    def __call__(self, batch):
        """Predictions [B] (sentiment), logits [B, C], or of dialogues [B, U, C], in NumPy.

        It warns of rows whose prediction is a substitute; arguments and errors as of `outputs`.
        """
        found = self.outputs(batch)
        if count := int(found.get("unread", np.zeros(1)).sum()):
            warnings.warn(said(count, len(found["pred"])), stacklevel=2)
        return found["pred"]

    def outputs(self, batch):
        """{'pred': predictions}; of a system that writes labels as text also 'unread'.

        'unread' is [B], 1 on rows whose text is no label, so that 'pred' is a substitute.

        Args:
          batch: the fields of `facts`, each [B, ...].

        Raises:
          ValueError: a field is missing, or of another shape.
        """
        given, rows = {}, None
        for name, (shape, dtype) in self.facts["fields"].items():
            if name not in batch:
                sizes = ", ".join(["B", *map(str, shape)])
                raise ValueError(f'the batch lacks "{name}" [{sizes}]')
            value = np.asarray(batch[name], dtype)
            rows = len(value) if rows is None else rows
            if value.shape != (rows, *shape):
                raise ValueError(
                    f'"{name}" has the shape {list(value.shape)}, expected '
                    f"{[rows, *shape]}"
                )
            given[name] = value
        fixed = self.facts["rows"]
        if fixed and rows != fixed:
            raise ValueError(f"the batch has {rows} rows, but must have {fixed}")
        return {k: np.asarray(x) for k, x in self._call(self._variables, given).items()}


def said(count, rows):
    """What there is to say of texts that are no label."""
    return (
        f"{count} of {rows} rows: the text that the system writes is no label, so that "
        "the prediction is a substitute, 0 or neutral"
    )


def _safetensors(path):
    """{name: array} of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    return {
        name: np.frombuffer(
            body[slice(*fact["data_offsets"])], _DTYPES[fact["dtype"]]
        ).reshape(fact["shape"])
        for name, fact in header.items()
        if name != "__metadata__"
    }


def main(argv):
    """Writes the predictions of a batch; the exit status."""
    if len(argv) != 2:
        print("usage: python load.py FOLDER batch.npz", file=sys.stderr)
        return 2
    try:
        system = System(argv[0])
        with np.load(argv[1]) as arrays:
            found = system.outputs(dict(arrays))
    except Exception as error:  # jax and zip files raise errors of many kinds
        why = f"{type(error).__name__}: {error}"
        print(
            f"error: {' '.join(argv)} cannot be run ({why}); give the folder of an export "
            "and an .npz with the fields of its facts.json, and copy damaged files again",
            file=sys.stderr,
        )
        return 1
    pred = found["pred"]
    lines = pred.reshape(-1, pred.shape[-1]) if pred.ndim > 1 else pred[:, None]
    if "unread" in found:
        lines = np.concatenate([lines, found["unread"][:, None]], axis=1)
        if count := int(found["unread"].sum()):
            print(said(count, len(pred)), file=sys.stderr)
    np.savetxt(sys.stdout, lines, fmt="%.9g")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
