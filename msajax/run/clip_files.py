"""Clips of the command line: one file, or a csv of many; their predictions as lines and as a csv."""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msajax.data.errors import DataError
from msajax.data.formats import label_csv, tables
from msajax.data.formats.decode import Decoder
from msajax.media import corpus
from msajax.media.files import check
from msajax.report.results import ClipPrediction
from msajax.run import workdir
from msajax.run.clip import Predictor
from msajax.run.clip_reader import Sample

# Columns of a csv whose cells are paths, relative to its folder.
_PATHS = ("vision_file", "word_times")
# Arguments that hold for all clips.
_SHARED = ("weights", "speech_model")
_SUBTITLES = (".txt", ".srt", ".vtt")


class Clip(NamedTuple):
    """What is known of a clip before it is read.

    Attributes:
      id: its name in the results.
      path: of the file; None where there is none, for the reason `lacking`.
      said: the transcript or its file; None where it is not known.
      files: the arguments of `Predictor.read` that are files.
      lacking: why there is no file.
    """

    id: str
    path: pathlib.Path | None
    said: str | None
    files: Mapping[str, str | pathlib.Path]
    lacking: str = ""


def of_arguments(args: argparse.Namespace) -> list[Clip]:
    """The clip of the command line, or those of a csv that it names.

    Raises:
      ValueError: no such file, a csv that cannot be read, or arguments for one clip beside
        a csv.
    """
    path = check(args.media)
    shared = {k: v for k in _SHARED if (v := getattr(args, k))}
    own = {name: getattr(args, name) for name in ("transcript", *_PATHS)}
    given = {name: value for name, value in own.items() if value}
    if path.suffix.lower() != ".csv":
        said = given.pop("transcript", None)
        return [Clip(str(path), path, said, {**shared, **given})]
    if given:
        name = next(iter(given))
        raise ValueError(
            f"--{name.replace('_', '-')} is of one clip, but --media {path} names many; put "
            f"it into the column {name} of the csv"
        )
    return _of_csv(path, shared)


def _of_csv(path: pathlib.Path, shared: Mapping[str, str]) -> list[Clip]:
    """The rows of a csv with the columns media, transcript, or of a label.csv."""
    rows = tables.rows(path, (), decoder=Decoder())
    if not rows:
        raise DataError(f"{path} has no rows; give one for each clip")
    named = "media" in rows[0]
    if not named and not {*label_csv.COLUMNS} <= rows[0].keys():
        raise DataError(
            f"{path} has the columns {', '.join(rows[0])}; expected media and transcript (a "
            "file and what is said in it), or those of a label.csv: "
            f"{', '.join(label_csv.COLUMNS)}"
        )
    found = [(_named if named else _labelled)(row, path.parent, shared) for row in rows]
    seen: dict[str, str] = {}
    for row, clip in zip(rows, found, strict=True):
        if clip.id in seen:
            raise DataError(
                f'{row.place}: the clip "{clip.id}" is already in {seen[clip.id]}; ids must '
                "be unique, so remove one of the rows, or name them in a column id"
            )
        seen[clip.id] = row.place
    return found


def _named(row: tables.Row, home: pathlib.Path, shared: Mapping[str, str]) -> Clip:
    files = {name: home / row[name] for name in _PATHS if row.get(name)}
    said = row.get("transcript") or None
    if said and said.lower().endswith(_SUBTITLES):
        said = str(home / said)
    name, media = row.get("id") or row["media"], home / row["media"]
    lacking = "" if row["media"] else f"{row.place}: media is empty; name a file"
    return Clip(name, None if lacking else media, said, {**shared, **files}, lacking)


def _labelled(row: tables.Row, home: pathlib.Path, shared: Mapping[str, str]) -> Clip:
    """A row of the field's label.csv; its clips lie beside it, or in a folder Raw there."""
    name = f"{row['video_id']}$_${row['clip_id']}"
    media = home / "Raw" if (home / "Raw").is_dir() else home
    try:
        path, lacking = corpus.find(media, name), ""
    except DataError as error:
        path, lacking = None, str(error)
    return Clip(name, path, row["text"] or None, shared, lacking)


def predict(
    predictor: Predictor, found: Sequence[Clip]
) -> tuple[list[ClipPrediction], dict[str, str]]:
    """The predictions of clips, and by id why others cannot be read.

    Raises:
      ValueError: the only clip cannot be read, or none of them.
    """
    samples: list[Sample] = []
    failed: dict[str, str] = {}
    for clip in found:
        try:
            if clip.path is None:
                raise DataError(clip.lacking)
            files = {**clip.files, "name": clip.id}
            samples.append(predictor.read(clip.path, clip.said, **files))
        except (ValueError, OSError, MemoryError) as error:
            if len(found) == 1:
                raise
            failed[clip.id] = str(error)
    if not samples:
        name, why = next(iter(failed.items()))
        raise DataError(f"none of {len(found)} clips can be read; {name}: {why}")
    return predictor.score(samples), failed


def describe(made: ClipPrediction) -> list[str]:
    """The lines that the terminal shows of a clip."""
    low, high = made.scale
    scale = "" if made.probabilities else f", on a scale from {low:g} to {high:g}"
    seeds = ", ".join(f"{x:.3f}" for x in made.seeds.values())
    lines = [made.id, f"  score {made.score:.3f}: {made.label}{scale} (seeds: {seeds})"]
    lines += [f"  {name} {share:.3f}" for name, share in made.probabilities.items()]
    for m, score in made.without.items():
        lines.append(
            f"  without {m} {score:.3f}: {m} adds {made.contributions[m]:+.3f}"
        )
    lines += [f"  {name} {value:.3f}" for name, value in made.figures.items()]
    seconds = ", ".join(f"{stage} {x:.2f}" for stage, x in made.seconds.items())
    return [*lines, f"  seconds: {seconds}", *(f"  note: {x}" for x in made.notes)]


def write(path: pathlib.Path, made: Sequence[ClipPrediction]) -> None:
    """Writes a row for each clip: id, score, class, what each modality and the system say."""
    removed = dict.fromkeys(m for clip in made for m in clip.without)
    first = made[0]
    header = ["id", "score", "class", *first.probabilities]
    header += [f"without_{m}" for m in removed] + [*first.figures]
    header += [f"seconds_{stage}" for stage in first.seconds] + ["notes"]
    rows = (
        [
            *(clip.id, f"{clip.score:.9g}", clip.label),
            *(f"{x:.9g}" for x in clip.probabilities.values()),
            *(f"{clip.without[m]:.9g}" if m in clip.without else "" for m in removed),
            *(f"{x:.9g}" for x in clip.figures.values()),
            *(f"{x:.4f}" for x in clip.seconds.values()),
            "; ".join(clip.notes),
        ]
        for clip in made
    )
    workdir.write_csv(path, header, rows)
