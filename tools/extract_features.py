"""Extracts the features of a corpus of clips into an .npz, which recipes then train on.

The clips lie as the field's corpora do: label.csv with the columns video_id, clip_id,
text, label (and label_T, label_A, label_V, annotation, mode), and
MEDIA/video_id/clip_id.mp4. Rerun a command that was stopped: finished clips are not done
again. A clip that cannot be read is left out and listed at the end.
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import sys

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

import numpy as np

from msajax.data import store
from msajax.data.errors import DataError
from msajax.data.formats import label_csv
from msajax.data.formats.decode import Decoder
from msajax.data.spec import DATASETS, Corpus, suggest
from msajax.media import audio, corpus, openface, packed, pipeline, settings, words

_EXAMPLES = """examples:
  python tools/make_demo_clips.py --out clips
  python tools/extract_features.py --labels clips/label.csv --media clips/Raw --out clips/features
  python tools/extract_features.py --labels label.csv --media Raw --out sims --dataset sims \\
      --audio sims --vision openface --vision-files openface
  python tools/extract_features.py --labels label.csv --media Raw --out mosei --dataset mosei \\
      --audio mel:bands=64 --vision resnet50:rate=2 --weights resnet50.pth

audio: mel (log-mel spectrogram, CorMulT's equations 1 to 3), mfcc, sims (the 33 of CH-SIMS),
prosody (F0, energy, zero-crossing rate), wave (16 kHz samples, for voice encoders), egemaps
(needs opensmile, whose licence allows research and no commercial use), none.
vision: resnet50 (needs --weights), grey (small grey pictures), openface and openface_v2 (csv
files of OpenFace 2), files (npy or npz of your own), none.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--labels", type=pathlib.Path, required=True, help="label.csv")
    parser.add_argument(
        "--media", type=pathlib.Path, required=True, help="folder of the clips"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="writes OUT.npz"
    )
    parser.add_argument("--audio", default="mel", help="KIND, or KIND:key=value,...")
    parser.add_argument("--vision", default="grey", help="KIND, or KIND:key=value,...")
    parser.add_argument("--weights", type=pathlib.Path, help="of ResNet-50")
    parser.add_argument(
        "--vision-files", type=pathlib.Path, help="folder of OpenFace's or your own"
    )
    parser.add_argument(
        "--word-times",
        type=pathlib.Path,
        help="folder of VIDEO/CLIP.csv with word,start,end: features per word",
    )
    parser.add_argument(
        "--dataset", default="mosi", help="says what the labels are (default mosi)"
    )
    parser.add_argument("--encoding", default="", help="of label.csv: gbk")
    parser.add_argument(
        "--longest", type=float, default=600.0, help="seconds of a clip (default 600)"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="default: cores"
    )
    parser.add_argument(
        "--beam",
        metavar="OPTIONS",
        help="extract by an Apache Beam pipeline with these options, instead of --workers: "
        "'runner=FlinkRunner flink_master=host:8081'",
    )
    parser.add_argument(
        "--standardize",
        action="store_true",
        help="each feature to mean 0 and deviation 1 over the training split",
    )
    parser.add_argument("--store", help="also a prepared store of that name")
    args = parser.parse_args(argv)
    try:
        _run(args)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    if not args.out.name:
        raise ValueError(f"--out {args.out} is a folder; name a file in it")
    out = args.out.with_name(args.out.name.removesuffix(".npz") + ".npz")
    job = _job(args, out)
    rows = _read_labels(args)
    if job.settings.audio:  # the first call of librosa compiles for seconds
        audio.check(job.settings.audio)
    names = [str(name) for split in rows.splits.values() for name in split.ids]
    if args.beam:
        failed = pipeline.run(job, names, options=args.beam)
    else:
        failed = _extract(job, names, args.workers)
    print(f"{len(names) - len(failed)} of {len(names)} clips are extracted")
    try:
        result = packed.pack(
            job, rows, out, failed=failed, standardize=args.standardize
        )
    finally:
        if failed:
            print(f"left out, {len(failed)} clips:", file=sys.stderr)
        for name, why in failed.items():
            print(f"  {name}: {why}", file=sys.stderr)
    _tell(result)
    print(f"{out}: features {job.settings.to_json()}")
    if args.store:
        folder = store.prepare(out, dataset=args.dataset, name=args.store, format="npz")
        print(f"{folder}: the prepared store")
    if not failed:
        shutil.rmtree(job.done)


def _read_labels(args: argparse.Namespace) -> Corpus:
    """The rows of the label.csv.

    Raises:
      DataError: they cannot be read, or an id occurs twice.
    """
    if args.dataset not in DATASETS:
        raise DataError(
            f'unknown dataset "{args.dataset}"{suggest(args.dataset, DATASETS)}'
        )
    if args.labels.is_dir() or not args.labels.exists():
        what = "is a folder" if args.labels.is_dir() else "does not exist"
        raise DataError(f"--labels {args.labels} {what}; give the path of a label.csv")
    if not args.media.is_dir():
        raise DataError(f"--media {args.media} is no folder; give that of the clips")
    decoder = Decoder(args.encoding)
    try:
        found = label_csv.read(args.labels, dataset=args.dataset, decoder=decoder)
    except DataError as error:
        raise DataError(f"{args.labels}: {error}") from error
    ids, counts = np.unique(
        np.concatenate([split.ids for split in found.splits.values()]),
        return_counts=True,
    )
    if (twice := ids[counts > 1]).size:
        raise DataError(
            f"{args.labels} has {len(twice)} ids more than once, the first is "
            f'"{twice[0]}"; ids must be unique, so remove the other rows'
        )
    for note in decoder.notes:
        print(f"note: {note}")
    return found


def _job(args: argparse.Namespace, out: pathlib.Path) -> corpus.Job:
    """What all clips share.

    Raises:
      ValueError: settings that contradict each other.
    """
    sound = None if args.audio == "none" else settings.audio(args.audio)
    vision = None if args.vision == "none" else settings.vision(args.vision)
    if sound is None and vision is None:
        raise ValueError("--audio and --vision are both none; extract one of them")
    kind = vision.kind if vision else ""
    for option, given, wanted in (
        ("--weights", args.weights, kind == "resnet50"),
        ("--vision-files", args.vision_files, kind in openface.SUFFIXES),
    ):
        if bool(given) != wanted:
            needs = "need" if wanted else "do not read"
            raise ValueError(f"the vision features {kind or 'none'} {needs} {option}")
    for option, folder in (
        ("--vision-files", args.vision_files),
        ("--word-times", args.word_times),
    ):
        if folder and not folder.is_dir():
            raise ValueError(f"{option} {folder} is no folder; give that of the files")
    if args.workers < 0 or not args.longest > 0:
        raise ValueError(
            f"--workers is {args.workers} and --longest {args.longest:g}; give at least 0 "
            "processes (0: this one) and more than 0 seconds"
        )
    if vision and args.word_times:
        words.step_of(vision)
    if vision and args.weights:
        from msajax.media.network import PictureNetwork

        print_of = PictureNetwork(args.weights).fingerprint
        vision = dataclasses.replace(vision, weights=print_of)
    return corpus.Job(
        settings=settings.MediaFeatures(sound, vision, bool(args.word_times)),
        media=args.media,
        done=out.with_suffix(".clips"),
        weights=args.weights,
        vision_files=args.vision_files,
        word_times=args.word_times,
        longest=args.longest,
    )


def _extract(job: corpus.Job, names: list[str], workers: int) -> dict[str, str]:
    """Runs the clips under a progress bar; why clips were left out, by id."""
    from rich import progress

    columns = (
        *("extracting", progress.BarColumn(), progress.MofNCompleteColumn()),
        *(progress.TimeElapsedColumn(), "left", progress.TimeRemainingColumn()),
    )
    with progress.Progress(*columns) as bar:
        task = bar.add_task("", total=len(names))
        return corpus.run(job, names, workers=workers, told=lambda: bar.advance(task))


def _tell(result: packed.Packed) -> None:
    for name, note in result.notes.items():
        print(f"note: {name}: {note}")
    for key, (rows, steps, width) in result.shapes.items():
        cut = result.cut[key]
        longer = f"; {cut} longer clips are cut" if cut else ""
        print(
            f"{key}: {rows} clips, {steps} steps (mean + 3 std), {width} wide{longer}"
        )


if __name__ == "__main__":
    sys.exit(main())
