"""The published figures: every result row of the five papers' tables, from published.csv.

Values stand there as printed; what is known or suspected to be a misprint says so in `note`.
Cells that the papers leave empty have no line. `setting` is the recipe's row, '' the recipe
itself. MSG/MBA's "MuT" is MulT.
"""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping

from msajax.data.spec import suggest

PAPERS: Mapping[str, str] = {
    "alr": "ALR",
    "cormult": "CorMulT",
    "iml_cmm": "IML-CMM",
    "mfon": "MFON",
    "msg_mba": "MSG/MBA",
}
# By paper, {table: what it holds}. MSG/MBA's and ALR's are printed in Roman numerals.
TABLES: Mapping[str, Mapping[int, str]] = {
    "alr": {
        3: "baselines on CMU-MOSEI",
        4: "baselines on MELD and IEMOCAP",
        5: "modalities",
        6: "components",
        7: "ways of fusion",
        8: "number of ALI layers",
        9: "width",
    },
    "cormult": {
        2: "perturbation strategies",
        3: "distances",
        4: "baselines on CMU-MOSEI",
        5: "feature extraction",
        6: "pretrained modalities",
    },
    "iml_cmm": {
        2: "baselines on CH-SIMS v2",
        3: "with the unlabelled clips",
        4: "components",
        5: "loss terms",
    },
    "mfon": {
        2: "baselines on CMU-MOSI and CMU-MOSEI",
        3: "baselines on CH-SIMS",
        4: "ablations on CMU-MOSI and CMU-MOSEI",
        5: "ablations on CH-SIMS",
    },
    "msg_mba": {
        1: "baselines on CMU-MOSI",
        2: "baselines on CMU-MOSEI",
        3: "components",
        4: "modalities",
        5: "components, on XLNet",
        6: "recurrent networks",
    },
}
# Not in %, but for tables that print them so: no other value of them is above 5.
_RAW = ("mae", "corr", "r2")


@dataclasses.dataclass(frozen=True)
class Figure:
    """One cell of a table.

    Attributes:
      paper, table: a key of `PAPERS`, and its number.
      dataset, system, metric: as msajax names them; a system may be one that it lacks.
      setting: the row of the system's recipe, or a name where it has none.
      printed: the value as printed.
      note: what is wrong or uncertain with it.
    """

    paper: str
    table: int
    dataset: str
    system: str
    setting: str
    metric: str
    printed: str
    note: str

    @property
    def value(self) -> float:
        """As `msajax.metrics` has it: accuracies and F1 are fractions."""
        number = float(self.printed.replace(",", "."))
        raw = self.metric in _RAW and number <= 5
        if raw or self.metric == "epoch_seconds" or self.metric.startswith("loss"):
            return number
        return number / 100


def figures(
    paper: str = "", table: int = 0, *, dataset: str = "", system: str = ""
) -> list[Figure]:
    """The figures of one paper, table, data set or system, in the order of the papers.

    Args:
      paper: a key of `PAPERS`; '' is all, as are 0 and '' of the others.
      table: a number of `TABLES`.
      dataset: a name in `msajax.data.spec.DATASETS`.
      system: as in the column `system`.

    Raises:
      ValueError: a paper, table, data set or system that is not there; names the others.
    """
    found = list(_read())
    wanted = dict(paper=paper, table=table, dataset=dataset, system=system)
    for key, value in wanted.items():
        if value:
            found = _where(found, key, value)
    return found


def _where(found: list[Figure], key: str, wanted: str | int) -> list[Figure]:
    """Those with a value.

    Raises:
      ValueError: none has it.
    """
    chosen = [figure for figure in found if getattr(figure, key) == wanted]
    if not chosen:
        known = {str(getattr(figure, key)) for figure in found}
        raise ValueError(
            f'no published figure asked for has the {key} "{wanted}"'
            f"{suggest(str(wanted), known)}"
        )
    return chosen


@functools.cache
def _read() -> tuple[Figure, ...]:
    path = pathlib.Path(__file__).with_name("published.csv")
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(
            Figure(
                row["paper"],
                int(row["table"]),
                *(row[key] for key in ("dataset", "system", "setting")),
                *(row[key] for key in ("metric", "value", "note")),
            )
            for row in csv.DictReader(file, strict=True)
        )
