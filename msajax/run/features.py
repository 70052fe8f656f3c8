"""How the features of a run's data were extracted from clips: kept in its workdir, and compared with those of other data."""

import pathlib

from msajax.data import json_file
from msajax.data.spec import Corpus
from msajax.media import settings
from msajax.media.settings import MediaFeatures
from msajax.run import workdir

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
