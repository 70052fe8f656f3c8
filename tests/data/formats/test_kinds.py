"""Files that people give in place of data are named, with what to do."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import struct
import tarfile
import wave
import zipfile
import zlib

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.formats import kinds
from msajax.data.read import find_format, read

PICKLE = pickle.dumps({"train": {"id": ["a"], "text": np.zeros((1, 2, 3))}})


def zipped(*names, content=PICKLE):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name in names:
            target.writestr(name, content)
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as target:
        target.addfile(tarfile.TarInfo("a.pkl"))
    return file.getvalue()


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def sound():
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(8000)
        target.writeframes(bytes(64))
    return file.getvalue()


def database(folder):
    connection = sqlite3.connect(folder / "db")
    connection.execute("create table a (b)")
    connection.close()
    return (folder / "db").read_bytes()


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
KINDS = {
    "empty": (b"", "empty .0 bytes.; copy or download it again"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS .*git lfs pull"),
    "annex": (b"/annex/objects/MD5E-s9--0.pkl\n", "git-annex .*git annex get"),
    "page": (b"\n<!DOCTYPE html><html>Virus scan warning", "a web page, .*Google Drive"),
    "old page": (b"<HTML><HEAD>404</HEAD>", "a web page, not the file"),
    "error": (b"<?xml version='1.0'?><Error>AccessDenied", "an XML file, as servers send"),
    "mac": (b"\0\5\x16\7\0\2\0\0Mac OS X", "companion .*without the ._"),
    "zeros": (bytes(4096), "full of zero bytes: a download or a copy that was cut off"),
    "h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file .*csd.* save .* .npz: msajax/data/README.md"),
    "h5 later": (b" " * 512 + b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "mat 7.3": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "an HDF5 file .*MATLAB 7.3"),
    "mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB file; with scipy.io"),
    "gzip": (gzip.compress(PICKLE), "compressed with gzip; unpack it: gzip -dc"),
    "bzip2": (bz2.compress(PICKLE), "compressed with bzip2; unpack it"),
    "xz": (lzma.compress(PICKLE), "compressed with xz; unpack it"),
    "lzma": (lzma.compress(PICKLE, lzma.FORMAT_ALONE), "compressed with xz; unpack it"),
    "zstd": (b"\x28\xb5\x2f\xfd\0", "compressed with zstd; unpack it"),
    "lz4": (b"\x04\x22\x4d\x18\0", "compressed with lz4; unpack it"),
    "zlib": (zlib.compress(PICKLE), "zlib .joblib.dump .* save it with pickle.dump"),
    "zlib, fast": (zlib.compress(PICKLE, 1), "compressed with zlib"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0", "a 7z archive; unpack it"),
    "rar": (b"Rar!\x1a\x07\x01\0", "a RAR archive; unpack it"),
    "tar": (tarred(), "a tar archive; unpack it .tar xf"),
    "torch": (zipped("x/data.pkl", "x/version"), "a PyTorch file .* load it with torch"),
    "old torch": (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "PyTorch .*before version 1.6"),
    "safetensors": (struct.pack("<Q", len(HEADER)) + HEADER.encode(), "a safetensors file"),
    "zip": (zipped("MOSI/Processed/aligned_50.pkl"), "zip .* holds MOSI/Processed/aligned_"),
    "zip of none": (zipped(), "a zip archive, no .npz: it holds nothing"),
    "zip of many": (zipped(*"abcde"), "it holds a, b, c and 2 more; unpack it"),
    "xlsx": (zipped("[Content_Types].xml", "xl/a.xml"), "an Office file .*as csv in UTF-8"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file .*as csv in UTF-8"),
    "npy": (saved(np.zeros(3)), "a .npy file, that is one array alone; .* np.savez"),
    "npy, dict": (saved(np.array({"a": 1}, object)), "a .npy file.*pickle.dump"),
    "json": (b'{"train": [1]}', "a JSON file; load it with json"),
    "json, list": (b'[\n  {"id": 1}]', "a JSON file"),
    "parquet": (b"PAR1\x15\0", "a Parquet file; with pandas.read_parquet"),
    "feather": (b"ARROW1\0\0", "an Arrow or Feather file"),
    "pdf": (b"%PDF-1.7\n", "a PDF"),
    "png": (b"\x89PNG\r\n\x1a\n", "an image; msajax reads features"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "an image"),
    "wav": (sound(), "a sound file; msajax reads features, not recordings: extract"),
    "flac": (b"fLaC\0\0\0\x22", "a sound file"),
    "mp3": (b"ID3\x04\0\0", "a sound file"),
    "mp3, bare": (b"\xff\xfb\x90\x64", "a sound file"),
    "ogg": (b"OggS\0\2", "a sound file"),
    "mp4": (b"\0\0\0\x20ftypisom", "a video file; msajax reads features, not recordings"),
    "avi": (b"RIFF\0\0\0\1AVI LIST", "a video file"),
    "mkv": (b"\x1a\x45\xdf\xa3\x93\x42", "a video file"),
}  # fmt: skip


@pytest.mark.parametrize("format", ["", "mmsa", "label_csv", "npz"])
def test_a_file_is_named_with_what_to_do(format, write):
    for kind, (content, match) in KINDS.items():
        path = write(content, "data.pkl")
        with pytest.raises(DataError, match=f"data.pkl: is .*{match}"):
            read(path, dataset="mosi", format=format)
            pytest.fail(kind)


def test_a_database(write, tmp_path):
    path = write(database(tmp_path))
    assert kinds.foreign(path).startswith("is an SQLite database; with sqlite3, save")


def test_data_is_of_no_foreign_kind(tiny_files, samples, write):
    for content in tiny_files.values():
        assert kinds.foreign(write(content)) == ""
    for protocol in range(6):
        for data in (samples.mmsa_data(), samples.mag_data()["train"], (1, 2), "x"):
            assert kinds.foreign(write(data, protocol=protocol)) == ""
    texts = (
        b'a,b,c\n1,{"x": 1}\n',
        b"x^\x01",
        b"xx,yy\n1,2\n",
        b"ID3,ID4\n",
        b"BMI,b\n",
    )
    for text in texts:  # a little like JSON, safetensors, zlib, MP3 or BMP
        assert kinds.foreign(write(text)) == ""


def test_pickles_by_older_protocols(samples, write):
    ordered = b"ccollections\nOrderedDict\n(lp0\ntR."
    assert find_format(write(ordered)) == "pickle"
    for protocol in (0, 1):
        for data in (samples.mmsa_data(), samples.mag_data()["train"], (1,)):
            assert find_format(write(data, protocol=protocol)) == "pickle"


@pytest.mark.parametrize(
    "name,advice",
    [
        ("pandas.core.frame\nDataFrame", r"pandas.core.frame.DataFrame.*to_numpy\(\)"),
        (
            "joblib.numpy_pickle\nNumpyArrayWrapper",
            r"save joblib.load\(FILE\) with pickle",
        ),
        ("torch._utils\n_rebuild_tensor_v2", r"tensor.numpy\(\)"),
        ("scipy.sparse._csr\ncsr_matrix", r"matrix.toarray\(\)"),
        ("mmsdk.x\nSequence", "aligned to the labels"),
        ("my.module\nClass", "my.module.Class, .* Save such an object as arrays"),
    ],
)
def test_objects_of_a_library(name, advice, write):
    with pytest.raises(DataError, match=f"refused: .*{advice}|{advice}"):
        read(write(b"\x80\x02c" + name.encode() + b"\n."), dataset="mosi")


def refused_folder(path, match):
    with pytest.raises(DataError, match=match) as error:
        read(path, dataset="mosi")
    assert len(str(error.value)) < 999


def test_folders(tiny_files, write, tmp_path):
    refused_folder(tmp_path, "is a folder, neither .*; it is empty; give a file")
    (tmp_path / "sub").mkdir()
    write(KINDS["h5"][0], "sub/a.csd")
    write(b"readme", "sub/b.txt")
    refused_folder(tmp_path, "none of its files can be read; sub/a.csd is an HDF5 file")
    write(tiny_files["mmsa"], "sub/x.pkl")
    write(tiny_files["npz"], "y.npz")
    refused_folder(tmp_path, "give one of its files: sub/x.pkl, y.npz$")
    write(b"{}", "dataset_info.json")
    refused_folder(tmp_path, "is an unfinished prepared store; make it again with")


def test_a_folder_of_meld_with_a_file_of_another_kind(samples, write):
    write(samples.meld_csv(), "meld/train_sent_emo.csv")
    path = write(KINDS["page"][0], "meld/dev_sent_emo.csv").parent
    with pytest.raises(DataError, match="meld: dev_sent_emo.csv is a web page, not"):
        read(path, dataset="meld")


def test_a_link_to_nothing(tmp_path):
    (tmp_path / "a.pkl").symlink_to(".git/annex/objects/x")
    with pytest.raises(DataError, match="a link to .git/annex/objects/x, .* annex get"):
        read(tmp_path / "a.pkl", dataset="mosi")
