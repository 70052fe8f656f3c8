import pytest

from msajax.encoders.locate import locate
from tests.encoders.checkpoints import Checkpoint, write

BERT = Checkpoint("bert")


def test_a_folder(tmp_path):
    assert locate(str(tmp_path)) == tmp_path


def test_a_home_that_is_not_there():
    with pytest.raises(ValueError, match=r"~nobody-here/bert: there is no home folder"):
        locate("~nobody-here/bert")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"no folder .*gone; put config.json"):
        locate(str(tmp_path / "gone"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that installs a package with some files."""

    def install(name, *files):
        record = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (record / "RECORD").write_text("".join(f"{file},,\n" for file in files))
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    return install


def test_an_installed_package(package):
    root = package(
        "tiny-bert",
        "tiny_bert/pooling/config.json",
        "tiny_bert/model/config.json",
        "tiny_bert/model/model.safetensors",
    )
    write(root / "tiny_bert" / "model", BERT.facts, state=BERT.state)
    assert locate("tiny-bert") == root / "tiny_bert" / "model"


def test_the_real_package(minilm):
    assert {"config.json", "model.safetensors"} <= {p.name for p in minilm.iterdir()}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, without network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cache(hub, name):
    """A snapshot in the layout of the hub's cache."""
    folder = hub / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    return folder / "snapshots" / ("0" * 40)


@pytest.mark.parametrize("name", ["tiny-bert-uncased", "someone/tiny-bert"])
def test_a_cached_model_needs_no_network(hub, name):
    snapshot = write(cache(hub, name), BERT.facts, state=BERT.state)
    assert locate(name) == snapshot


@pytest.mark.parametrize("complete", [False, None])
def test_what_is_not_cached(hub, complete):
    if complete is False:  # The config alone.
        write(cache(hub, "tiny-bert-uncased"), BERT.facts)
    with pytest.raises(ValueError) as error:
        locate("tiny-bert-uncased")
    message = str(error.value)
    for words in ("tiny-bert-uncased", "cache", "cannot be reached"):
        assert words in message
    for file in ("config.json", "model.safetensors", "pytorch_model.bin", "vocab.txt"):
        assert file in message


def test_the_preferred_weights_are_fetched(hub, monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub import errors

    there = {"model.safetensors.index.json", "a.safetensors", "pytorch_model.bin"}
    fetched = []

    def snapshot(name, *, allow_patterns):
        assert "config.json" in allow_patterns
        return str(write(tmp_path / ("1" * 40), BERT.facts))

    def download(name, file, *, revision):
        assert (name, revision) == ("someone/bert", "1" * 40)
        if file not in there:
            # Made without its HTTP response, which the constructor wants.
            raise errors.EntryNotFoundError.__new__(errors.EntryNotFoundError)
        fetched.append(file)
        path = tmp_path / ("1" * 40) / file
        path.write_text('{"weight_map": {"x": "a.safetensors"}}')
        return str(path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert locate("someone/bert").name == "1" * 40
    assert fetched == ["model.safetensors.index.json", "a.safetensors"]
    # One that was broken off goes on; a whole one asks for nothing.
    fetched.clear()
    (tmp_path / ("1" * 40) / "a.safetensors").unlink()
    for _ in range(2):
        locate("someone/bert")
    assert fetched == ["a.safetensors"]


def test_a_name_that_is_no_id(hub):
    with pytest.raises(ValueError, match="put config.json"):
        locate("a--b/..c")
