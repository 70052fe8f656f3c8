"""What a file is that no reader takes, told by its first bytes, and what to do about it.

Two tables: files that stand in the place of the one that was meant, and files of
other formats. The first holds for any file that msajax reads.
"""

import os
import pathlib
import re
import zipfile
import zlib

from msajax.data.errors import decoding

# Bytes that are looked at.
_START = 2**12
_NPZ = (
    'save what you need of it as an .npz (msajax/data/README.md, "Your own data": id, split, label, '
    "raw_text, text, audio, vision)"
)
_AGAIN = "copy or download it again"
_FEATURES = (
    "msajax reads features, not recordings: extract them (with MMSA-FET, openSMILE or "
    "OpenFace, for example), then save them as an .npz"
)

# Pattern at the beginning, what it is, what to do.
_PLACEHOLDERS: tuple[tuple[bytes, str, str], ...] = (
    (
        rb"version https://git-lfs\.",
        "only a pointer of Git LFS to the file",
        "fetch it with `git lfs pull`",
    ),
    (
        rb"(\.\./)*(\.git)?/?annex/objects/",
        "only a pointer of git-annex to the file",
        "fetch it with `git annex get` or `datalad get`",
    ),
    (
        rb"(?i)\s*(<!--.*?-->\s*)?<(!doctype html|html|head|script)\b",
        "a web page, not the file: the server sent a question or an error (Google Drive "
        "does for large files)",
        "open the link in a browser, confirm there, and save the file itself",
    ),
    (
        rb"\s*<\?xml|<Error>",
        "an XML file, as servers send for an error",
        "look into it with a text editor, and download the file again",
    ),
    (
        rb"\x00\x05\x16\x07",
        "the companion (._NAME) that a Mac writes beside a file",
        "give the file of that name without the ._",
    ),
    (rb"\x00{64}", "full of zero bytes: a download or a copy that was cut off", _AGAIN),
)
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (
        rb"(?s)\x89HDF\r\n\x1a\n|MATLAB 7\.3|.{512}\x89HDF\r\n\x1a\n",
        "an HDF5 file (.h5, .hdf5, a .csd of CMU-MultimodalSDK, MATLAB 7.3)",
        'save what you need of it as an .npz: msajax/data/README.md, "Your own data", has the lines',
    ),
    (rb"MATLAB 5\.0 MAT-file", "a MATLAB file", f"with scipy.io.loadmat, {_NPZ}"),
    (
        rb"\x1f\x8b|\x1f\x9d",
        "compressed with gzip",
        "unpack it: gzip -dc FILE > NEW",
    ),
    (rb"BZh[1-9]", "compressed with bzip2", "unpack it: bzip2 -dc FILE > NEW"),
    (
        rb"\xfd7zXZ\x00|\x5d\x00\x00[\x00-\x80]\x00",
        "compressed with xz",
        "unpack it: xz -dc FILE > NEW",
    ),
    (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it: zstd -dc FILE > NEW"),
    (rb"\x04\x22\x4d\x18", "compressed with lz4", "unpack it: lz4 -dc FILE > NEW"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and give the file in it"),
    (rb"Rar!\x1a\x07", "a RAR archive", "unpack it, and give the file in it"),
    (
        rb"(?s).{257}ustar",
        "a tar archive",
        "unpack it (tar xf FILE), and give the file in it",
    ),
    (
        rb"\x80.\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
        "a PyTorch file (torch.save before version 1.6)",
        f"load it with torch and {_NPZ}; a trained system's weights are no data",
    ),
    (
        rb"(?s).{4}\x00{4}\{\"",
        "a safetensors file, that is a network's weights",
        "give a file of features and labels",
    ),
    (
        rb"\x93NUMPY",
        "a .npy file, that is one array alone",
        "a file of data needs several arrays by name: save them with np.savez "
        '(msajax/data/README.md, "Your own data"). If it is a dict that np.save wrote, save '
        "np.load(FILE, allow_pickle=True).item() with pickle.dump",
    ),
    (rb"PAR1", "a Parquet file", f"with pandas.read_parquet, {_NPZ}"),
    (rb"ARROW1|FEA1", "an Arrow or Feather file", f"with pandas.read_feather, {_NPZ}"),
    (rb"SQLite format 3\x00", "an SQLite database", f"with sqlite3, {_NPZ}"),
    (
        rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Office file (.xls, .doc)",
        "save its table as csv in UTF-8",
    ),
    (rb"%PDF-", "a PDF", "give a file of features or transcripts"),
    (rb"(?s)\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\x00\x00\x00\x00", "an image", _FEATURES),
    (rb"(?s)RIFF.{4}WEBP", "an image", _FEATURES),
    (
        rb"(?s)RIFF.{4}WAVE|RF64|FORM.{4}AIF|fLaC|OggS|ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"
        rb"|#!AMR|NIST_1A|.{4}ftypM4A",
        "a sound file",
        _FEATURES,
    ),
    (
        rb"(?s)RIFF.{4}AVI |.{4}ftyp|\x1a\x45\xdf\xa3|FLV\x01|\x00\x00\x01[\xb3\xba]"
        rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        "a video file",
        _FEATURES,
    ),
    (
        rb"\s*(\{\s*[\"}]|\[\s*[\[{\"\d\]])",
        "a JSON file",
        f"load it with json and {_NPZ}",
    ),
)

# What to do about objects of a library in a pickle.
_OBJECTS = (
    ("joblib", "joblib.dump wrote it: save joblib.load(FILE) with pickle.dump"),
    ("pandas", "Save the columns of a table as arrays: frame[NAME].to_numpy()"),
    ("torch", "Save tensors as arrays: tensor.numpy()"),
    ("tensorflow", "Save tensors as arrays: tensor.numpy()"),
    ("scipy.sparse", "Save a sparse matrix as an array: matrix.toarray()"),
    (
        "mmsdk",
        "Save the features of CMU-MultimodalSDK as arrays, aligned to the labels",
    ),
)


def placeholder(path: str | os.PathLike) -> str:
    """What a file is that stands in the place of another: 'is only a pointer ...; do that'; else ''."""
    start = _start(path)
    if not start:
        return f"is empty (0 bytes); {_AGAIN}"
    return _named(start, _PLACEHOLDERS)


def foreign(path: str | os.PathLike) -> str:
    """What a file is that can hold no data for msajax, and what to do; '' for what may be data."""
    if found := placeholder(path):
        return found
    start = _start(path)
    if start.startswith(b"PK"):
        return _zip(path)
    if _is_zlib(start):
        return (
            "is compressed with zlib (joblib.dump with compress=... writes such files); "
            "load it with joblib or unpack it with zlib, and save it with pickle.dump"
        )
    return _named(start, _OTHERS)


def advice(name: str) -> str:
    """What to do about a class or a function that a pickle names."""
    return next(
        (text for library, text in _OBJECTS if library in name),
        "Save such an object as arrays",
    )


def _start(path: str | os.PathLike) -> bytes:
    with open(path, "rb") as file:
        return file.read(_START)


def _named(start: bytes, table: tuple[tuple[bytes, str, str], ...]) -> str:
    for pattern, name, advice in table:
        if re.match(pattern, start):
            return f"is {name}; {advice}"
    return ""


def _is_zlib(start: bytes) -> bool:
    if start[:1] != b"x" or int.from_bytes(start[:2], "big") % 31:
        return False
    try:
        return bool(zlib.decompressobj().decompress(start, 64))
    except zlib.error:
        return False


def _zip(path: str | os.PathLike) -> str:
    """What a zip archive is by the names of its members; '' for an .npz."""
    with decoding("npz or other zip archive"), zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if not name.endswith("/")]
    if any(name.endswith(".npy") and "/" not in name for name in names):
        return ""
    if any(pathlib.PurePosixPath(name).name == "data.pkl" for name in names):
        return (
            "is a PyTorch file (.pt, .pth: torch.save); load it with torch and "
            f"{_NPZ}; a trained system's weights are no data"
        )
    if "[Content_Types].xml" in names:
        return "is an Office file (.xlsx, .docx); save its table as csv in UTF-8"
    shown = ", ".join(ascii(name[:60])[1:-1] for name in names[:3]) or "nothing"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"is a zip archive, no .npz: it holds {shown}{more}; unpack it (unzip FILE), and "
        "give the file in it"
    )
