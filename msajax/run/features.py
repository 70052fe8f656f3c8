"""How the features of a run's data were extracted from clips: kept in its workdir, and compared with those of other data."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from msajax.data import json_file
from msajax.data.spec import Corpus
from msajax.media import settings
from msajax.media.settings import MediaFeatures
from msajax.run import workdir

if TYPE_CHECKING:
    from msajax.run.run import Run

FILE = "features.json"
_ADVICE = "delete it and run the training command again, which writes it"


def keep(folder: pathlib.Path, corpus: Corpus) -> None:
    """Writes the settings of a corpus into a run's folder, where the corpus has any.

    Raises:
      DataError: the settings are damaged, or of another version.
    """
    if corpus.media:
        found = settings.of_json(corpus.media, name="the settings of the data")
        workdir.write(folder / FILE, found.to_json() + "\n")


def read(folder: pathlib.Path) -> MediaFeatures | None:
    """The settings in a run's folder; None where its data says nothing of them.

    Raises:
      DataError: a damaged file.
    """
    path = folder / FILE
    return (
        json_file.read(path, MediaFeatures, advice=_ADVICE) if path.exists() else None
    )


def check(folder: pathlib.Path, corpus: Corpus) -> None:
    """Refuses a corpus whose features were extracted otherwise than those of the run.

    Raises:
      ValueError: shows both settings.
    """
    if corpus.media and (trained := read(folder)) is not None:
        given = settings.of_json(corpus.media, name="the settings of the data")
        settings.check_same(trained, given)


def of_run(run: "Run") -> MediaFeatures:
    """The settings of the features of clips that a run reads.

    Raises:
      ValueError: they are not known, or the run reads what no clip has.
    """
    spec, text = run.spec, run.options.text
    if spec.turns:
        raise ValueError(
            f"{run.options.system} scores the utterances of a dialogue together; give a "
            "file of dialogues: predict, --data FILE"
        )
    if "text" in spec.modalities and not (text.vocabulary or text.encoder):
        raise ValueError(
            "the run reads text features of its data file, which no transcript has; train "
            "with config.text.vocabulary=True, or name an encoder (config.text.encoder)"
        )
    found = read(run.folder) or MediaFeatures()
    for m in ("audio", "vision"):
        if m not in spec.modalities:
            found = dataclasses.replace(found, **{m: None})
        elif getattr(found, m) is None:
            raise ValueError(
                f"{run.folder} does not record how the {m} features of its data were extracted "
                f"({FILE}); extract features by tools/extract_features.py and train "
                "on those, or extract the clip's as the data's were and give a file: "
                "predict, --data FILE"
            )
    return found
