"""The clips of a corpus as an Apache Beam pipeline: each by `corpus.work`, on an engine that exists."""

import functools
import json
import pathlib
import shlex
import shutil
import tempfile
from collections.abc import Iterable

from msajax.data.errors import DataError
from msajax.media import corpus, files


def run(job: corpus.Job, names: Iterable[str], *, options: str) -> dict[str, str]:
    """Extracts clips; finished ones are not done again.

    The engine's workers need msajax, and see the folders of the job at the same paths.

    Args:
      job: what the clips share.
      names: their ids.
      options: of the pipeline, "runner=DirectRunner direct_num_workers=2".

    Returns:
      By id why a clip was left out.

    Raises:
      ValueError: Beam is not installed, or refuses an option.
      OSError: the disk is full, as Beam reports it.
    """
    beam = files.library("apache_beam", extra="beam")
    corpus.start(job)
    # Not in memory: another engine runs elsewhere.
    results = pathlib.Path(tempfile.mkdtemp(prefix="beam-", dir=job.done))
    try:
        with beam.Pipeline(options=_options(options)) as pipeline:
            _ = (
                pipeline
                | beam.Create(list(names))
                | beam.Reshuffle()
                | beam.Map(functools.partial(_line, job))
                | beam.io.WriteToText(str(results / "clips"))
            )
        lines = [
            line
            for path in results.iterdir()
            for line in path.read_text("utf-8").splitlines()
        ]
        return {name: why for name, why in map(json.loads, lines) if why}
    finally:
        shutil.rmtree(results)


def _options(text: str) -> object:
    found = files.library("apache_beam.options.pipeline_options", extra="beam")
    made = found.PipelineOptions(
        [f"--{option.lstrip('-')}" for option in shlex.split(text)]
    )
    known = made.get_all_options()
    # Beam drops these, and a misspelt runner would be the default one.
    if unknown := sorted(
        made.get_all_options(retain_unknown_options=True).keys() - known
    ):
        raise DataError(
            f"--beam: Beam has no option {', '.join(unknown)}; correct its name"
        )
    return made


def _line(job: corpus.Job, name: str) -> str:
    return json.dumps((name, corpus.work(job, name)))
