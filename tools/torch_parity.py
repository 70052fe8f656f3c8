"""Compares our modules with numbers that a PyTorch reference computed.

    python tools/torch_parity.py CASE_DIR [CASE_DIR ...]

A case is a folder with case.json and arrays.npz. Its weights are loaded into
our module by their PyTorch names, its inputs run through it, and every output,
loss and gradient of the case is compared. Exit status: 0 all within tolerance,
1 some are not, 2 a case cannot be used.
"""

import argparse
import pathlib
import sys
from typing import NamedTuple

import jax
import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from tools import parity
from tools.parity.case import RESULTS, Case, read_case

# An array is right when every |difference| <= max(FLOOR, share * largest |reference|).
FLOOR = 1e-5
SHARES = {"out/": 2e-5, "loss/": 2e-5, "grad/": 1e-4, "grad_in/": 1e-4}


class Row(NamedTuple):
    """One array of a case: largest absolute error and error over the largest reference value."""

    name: str
    error: float
    relative: float
    tolerance: float
    remark: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is within tolerance; NaN is not."""
        return self.error <= self.tolerance


def compare(case: Case) -> list[Row]:
    """Recomputes a case and compares each of its results."""
    ours = parity.get(case.model).reproduce(case)
    rows = []
    for name, reference in case.arrays.items():
        if name.startswith(RESULTS):
            rows.append(_row(case, name, reference, ours.get(name)))
    if not rows:
        raise ValueError("the case has no results to compare: no out/, loss/ or grad/")
    return rows


def _row(case: Case, name: str, reference: np.ndarray, ours: object) -> Row:
    scale = float(np.max(np.abs(reference), initial=0.0))
    share = SHARES[name.split("/")[0] + "/"]
    tolerance = max(FLOOR, share * scale, 3 * case.noise.get(name, 0.0))
    if ours is None:
        return Row(name, np.nan, np.nan, tolerance, "not computed by our module")
    array = np.asarray(ours)
    # PyTorch's code keeps or squeezes axes of length 1 as it happens.
    if [n for n in array.shape if n > 1] != [n for n in reference.shape if n > 1]:
        remark = f"shape {array.shape}, not {reference.shape}"
        return Row(name, np.nan, np.nan, tolerance, remark)
    difference = array.reshape(reference.shape).astype(np.float64) - reference
    error = float(np.max(np.abs(difference), initial=0.0))
    return Row(name, error, error / scale if scale else error, tolerance)


def show(title: str, rows: list[Row]) -> None:
    """Prints the table of one case."""
    width = max(len(row.name) for row in rows)
    print(f"{title}\n{'array':<{width}}  max |error|   relative  tolerance")
    for row in rows:
        verdict = "ok" if row.ok else f"WRONG {row.remark}".rstrip()
        print(
            f"{row.name:<{width}}  {row.error:11.2e} {row.relative:10.2e} "
            f"{row.tolerance:10.2e}  {verdict}"
        )
    wrong = sum(not row.ok for row in rows)
    print(f"{len(rows) - wrong} of {len(rows)} arrays within tolerance\n")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Compare our modules with numbers of a PyTorch reference."
    )
    parser.add_argument("cases", nargs="+", metavar="CASE_DIR")
    status = 0
    with jax.default_matmul_precision("highest"):
        for folder in parser.parse_args(argv).cases:
            try:
                case = read_case(folder)
                rows = compare(case)
            except ValueError as error:
                print(f"{folder}: {error}", file=sys.stderr)
                status = 2
                continue
            show(f"{folder} ({case.model})", rows)
            status = max(status, int(not all(row.ok for row in rows)))
    return status


if __name__ == "__main__":
    sys.exit(main())
