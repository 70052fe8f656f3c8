import pathlib
import pickle
import re
import runpy
import tracemalloc
from typing import Any

import numpy as np
import pytest

from msajax.data import store
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split
from msajax.run import recipe

_TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_data.py"
_RECIPE = """
from msajax.run import recipe

DATASETS = {datasets!r}
ROWS = {{"no_audio": dict(modalities=("text", "vision"))}}

def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base={{}}, rows=ROWS)
    return recipe.make("{system}", values)
"""
_OWN = recipe.home
_MOSI = dict(data=dict(dataset="mosi"))
_FROZEN = dict(encoder="none-of-that-name", max_length=9, frozen=True)
_TRAINED = _FROZEN | dict(frozen=False)
# {recipe: (system, {data set: values})}
_RECIPES = {
    "lf_dnn": (
        "lf_dnn",
        {
            "mosi": dict(data=dict(dims=(), lengths=())),
            "large": _MOSI | dict(train=dict(batch_size=4, select="mae")),
            "frozen": dict(data=dict(dataset="mosi", dims=(1, 5, 20)), text=_FROZEN),
            "aligned": dict(data=dict(dataset="mosi", variant="aligned")),
            "mag": dict(data=dict(dataset="mosi", variant="mag")),
            "short": dict(data=dict(dataset="mosi", dims=(), lengths=(50, 30, 50))),
            "sims": {},
        },
    ),
    "misa": ("misa", {"mosi": dict(text=_TRAINED)}),
    "mag_bert": ("mag_bert", {"mosi": {}}),
    "text_only": (
        "text_only",
        {name: dict(text=_TRAINED) for name in ("mosi", "mosei", "sims", "simsv2")}
        | dict(meld=dict(text=_TRAINED))
        | dict(context=_MOSI | dict(text=_TRAINED | dict(context=1))),
    ),
}


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(_TOOL))["main"]


@pytest.fixture(autouse=True)
def recipes(tmp_path, monkeypatch):
    """A folder of recipes in place of the project's."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    for name, (system, datasets) in _RECIPES.items():
        datasets = {
            key: recipe.merge(dict(train=dict(batch_size=3)), values)
            for key, values in datasets.items()
        }
        text = _RECIPE.format(system=system, datasets=datasets)
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(recipe, "home", lambda: folder)


@pytest.fixture
def source(tmp_path):
    """A small file with the widths and lengths of MOSI, aligned."""
    rng = np.random.default_rng(0)
    data = {}
    for split, rows in (("train", 3), ("valid", 2), ("test", 2)):
        entry: dict[str, Any] = {"id": [f"{split}{i}" for i in range(rows)]}
        entry["regression_labels"] = np.linspace(-2, 2.5, rows)
        for key, width in (("text", 768), ("audio", 5), ("vision", 20)):
            entry[key] = rng.normal(size=(rows, 50, width))
        data[split] = entry
    data["train"]["audio"][0, 3, :2] = -np.inf
    path = tmp_path / "aligned_50.pkl"
    path.write_bytes(pickle.dumps(data))
    return path


def line(out, key):
    (found,) = [x for x in out.splitlines() if re.match(rf"[! ] {key} ", x)]
    return re.split(r"  +", found[2:]), found[0] == "!"


def test_expected_against_found(tool, source, capsys):
    assert tool([str(source)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("CMU-MOSI, compared with mosi/aligned\n")
    assert line(out, "rows of train") == (["rows of train", "1284", "3"], True)
    shape = "[N, 50, 5]"
    assert line(out, "audio") == (
        ["audio", shape, shape, "float64, 2 not finite"],
        False,
    )
    assert out.count("note: ") == 1
    assert line(out, "label") == (["label", "-3 to 3", "-2 to 2.5"], False)
    assert "note: non-finite values set to 0: 2 in train audio" in out


def told(out):
    """{recipe: why it does not fit, '' where it does}."""
    found = re.findall(
        r"^(?:does not )?fits? (\S+:\S+?)(?:: (.*))?$", out, re.MULTILINE
    )
    return dict(found)


def test_which_recipes_fit(tool, source, capsys):
    tool([str(source)])
    assert told(capsys.readouterr().out) == {
        "lf_dnn:mosi": "",
        "lf_dnn:large": "3 rows, under a batch of 4",
        "lf_dnn:frozen": "no raw text, nor word pieces, for the text encoder",
        "lf_dnn:aligned": "",
        "lf_dnn:mag": "text 768 wide, not 1; audio 5 wide, not 74; vision 20 wide, not 47",
        "lf_dnn:short": "audio 50 steps, over 30",
        "mag_bert:mosi": "mag_bert changes the text inside its encoder: set "
        "config.text.encoder to a folder, an...",
        "misa:mosi": "no raw text, nor word pieces, for the text encoder",
        "text_only:mosi": "no raw text, nor word pieces, for the text encoder",
        "text_only:context": "config.text.context joins the utterances of a video, but the "
        'id "train0" names none',
    }


def test_recipes_with_an_encoder_of_the_raw_text(tool, tmp_path, capsys):
    """As the README trains them: the encoder makes the text's arrays, and need not be at hand."""
    names = ["train", "train", "train", "valid", "test"]
    lines = [f"v{i},0,well well,{i / 2},{name}" for i, name in enumerate(names)]
    path = tmp_path / "label.csv"
    path.write_text("\n".join(["video_id,clip_id,text,label,mode", *lines]))
    assert tool([str(path), "--dataset", "mosi"]) == 0
    found = told(capsys.readouterr().out)
    assert found["text_only:mosi"] == found["lf_dnn:frozen"] == ""
    assert found["text_only:context"] == ""
    assert found["lf_dnn:mosi"].startswith("the data has no feature arrays for text")
    assert found["misa:mosi"].startswith("misa compares modalities")
    rows = len(names)
    arrays = dict(id=np.arange(rows), split=names, label=np.zeros(rows))
    more: dict[str, Any]
    pieces = np.tile(np.ones((3, 4), int), (rows, 1, 1))
    for more, reason in (
        (dict(), "no raw text, nor word pieces, for the text encoder"),
        (dict(raw_text=["x"] * rows), ""),
        (dict(text_bert=pieces), ""),
    ):
        np.savez(tmp_path / "x.npz", **arrays, audio=np.ones((rows, 5)), **more)
        tool([str(tmp_path / "x.npz"), "--dataset", "mosi"])
        found = told(capsys.readouterr().out)
        assert found["text_only:mosi"] == found["lf_dnn:frozen"] == reason
        no_video = "config.text.context joins the utterances of a video, but the id"
        assert found["text_only:context"].startswith(no_video)
    assert (
        found["lf_dnn:mosi"] == "the data has word pieces of the text but no features"
    )
    arrays["id"] = [f"v{i}$_$0" for i in range(rows)]
    np.savez(tmp_path / "x.npz", **arrays, text_bert=pieces)
    tool([str(tmp_path / "x.npz"), "--dataset", "mosi"])
    found = told(capsys.readouterr().out)
    # The raw text is joined, also where there are word pieces.
    assert found["text_only:context"] == "no raw text for the text encoder"


def test_datasets_of_classes_share_the_recipes(tool, source, capsys):
    data = pickle.loads(source.read_bytes())
    for entry in data.values():
        entry["annotations"] = ["Neutral"] * len(entry.pop("regression_labels"))
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source)]) == 1
    assert "of a tool: --dataset mosi_classes)" in capsys.readouterr().out
    assert tool([str(source), "--dataset", "mosi_classes"]) == 0
    out = capsys.readouterr().out
    assert line(out, "label") == (["label", "0 to 2", "[N]", "by name"], False)
    assert told(out)["lf_dnn:mosi"] == ""
    assert told(out)["lf_dnn:large"] == "3 rows, under a batch of 4"


def test_a_file_without_labelled_rows(tool, source, capsys):
    data = pickle.loads(source.read_bytes())
    entry = {k: v for k, v in data["train"].items() if "label" not in k}
    source.write_bytes(pickle.dumps({"unlabeled": entry}))
    assert tool([str(source)]) == 0
    out = capsys.readouterr().out
    assert re.search("^  rows of unlabelled +3$", out, re.MULTILINE)
    assert not told(out)
    assert out.endswith(
        f"--config.data.path=LABELLED --config.data.unlabelled={source}\n"
    )
    assert out.count("without labels") == 1


def test_rows_without_labels_are_noted_once(tool, source, capsys):
    data = pickle.loads(source.read_bytes())
    data["unlabeled"] = data["test"] | {"id": ["x", "y"]}
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source)]) == 0
    out = capsys.readouterr().out
    assert out.count("note: left out: 2 rows without labels") == 1
    assert told(out)["lf_dnn:mosi"] == ""


def test_the_exit_status_is_1_where_no_recipe_fits(
    tool, source, capsys, monkeypatch, tmp_path
):
    assert tool([str(source), "--dataset", "demo"]) == 1
    assert "with --config.data.dataset=demo" in capsys.readouterr().out
    monkeypatch.setattr(recipe, "home", lambda: tmp_path / "none")
    assert tool([str(source), "--dataset", "mosi"]) == 1
    assert "no recipe of CMU-MOSI fits" in capsys.readouterr().out
    data = pickle.loads(source.read_bytes())
    source.write_bytes(pickle.dumps({k: v for k, v in data.items() if k != "valid"}))
    assert tool([str(source)]) == 1
    assert 'no split "valid". Known: test, train' in capsys.readouterr().out


def test_advice_where_no_recipe_fits(tool, source, tmp_path, capsys):
    data = pickle.loads(source.read_bytes())
    source.write_bytes(pickle.dumps({"train": data["train"]}))
    assert tool([str(source)]) == 1
    out = capsys.readouterr().out
    assert '"train" alone' in out and "--config.data.split=0.7,0.15,0.15" in out
    path = tmp_path / "x.npz"
    split = ["train", "valid", "test"]
    arrays: dict[str, Any] = dict(id=split, split=split, label=np.full(3, 0.5))
    np.savez(path, **arrays, audio=np.ones((3, 5)), vision=np.ones((3, 20)))
    assert tool([str(path), "--dataset", "mosi"]) == 1
    out = capsys.readouterr().out
    assert "no recipe of CMU-MOSI fits; --config.train.batch_size=1 makes" in out
    assert "--config.data.dataset" not in out


def test_an_empty_path_is_refused(tool, capsys):
    with pytest.raises(SystemExit):
        tool([""])
    assert "the path of the file is empty" in capsys.readouterr().err


def test_a_file_is_read_once(tool, source, monkeypatch):
    read, calls = tool.__globals__["read"], []
    load = read.load
    monkeypatch.setattr(read, "load", lambda *a, **k: calls.append(k) or load(*a, **k))
    assert tool([str(source)]) == 0
    assert len(calls) == 1


def test_features_are_counted_without_a_copy(tool):
    x = np.ones((300, 500, 8), np.float32)
    x[7, 3, :2] = np.nan, -np.inf
    tracemalloc.start()
    try:
        assert tool.__globals__["_values"]([x, x]) == "float32, 4 not finite"
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 20
    finally:
        tracemalloc.stop()


def test_labels_say_the_dataset_before_widths(tool, source, capsys):
    """MulT's IEMOCAP has the widths of MOSEI."""
    hot = np.eye(4)[[1, 3, 0]]
    for shape in (hot, np.stack([1 - hot, hot], axis=-1)):
        data = pickle.loads(source.read_bytes())
        for name, entry in data.items():
            entry["audio"] = np.zeros((len(entry["id"]), 50, 74))
            entry["labels"] = shape[: len(entry.pop("id"))]
            data[name] = {k: v for k, v in entry.items() if k != "regression_labels"}
        path = source.with_name("iemocap.pkl")
        path.write_bytes(pickle.dumps(data))
        assert tool([str(path)]) == 1  # there is no such recipe
        out = capsys.readouterr().out
        assert out.startswith("IEMOCAP (four emotions), ")
        assert "one-hot, taken as neutral, happy, sad, angry" in out
    # Recipes of the four emotions come before those of the six.
    sets = {"iemocap4": dict(train=dict(batch_size=3)), "iemocap": {}}
    own = _RECIPE.format(system="lf_dnn", datasets=sets)
    (recipe.home() / "own.py").write_text(own)
    tool([str(path)])
    assert told(capsys.readouterr().out).keys() == {"own:iemocap4"}


@pytest.mark.parametrize(
    ("names", "status", "message"),
    [
        (["joy", "anger", "fear"], 1, "^MELD, "),
        (["excited", "sad", "happy"], 1, "^IEMOCAP, "),
        (
            ["Happy", "sad", "angry"],
            1,
            "those of iemocap and iemocap4 and ravdess; give --dataset",
        ),
    ],
)
def test_names_of_classes_say_the_dataset(
    tool, tmp_path, capsys, names, status, message
):
    path = tmp_path / "x.npz"
    split = ["train", "valid", "test"]
    np.savez(path, id=split, split=split, label=names, audio=np.ones((3, 9)))
    assert tool([str(path)]) == status
    assert re.search(message, capsys.readouterr().out)


def test_whole_numbers_can_be_classes_of_several(tool, tmp_path, capsys):
    """MulT's IEMOCAP has the widths of CMU-MOSEI, and may have a class in each row."""
    path = tmp_path / "x.npz"
    split = ["train", "train", "valid", "test"]
    arrays: dict[str, Any] = dict(id=np.arange(4), split=split)
    arrays |= dict(audio=np.ones((4, 74)), vision=np.ones((4, 35)))
    for label, refused in (([0, 3, 1, 2], True), ([0, 2.5, 1, 2], False)):
        np.savez(path, **arrays, label=label)
        assert tool([str(path)]) == 1  # two rows are under a batch
        out = capsys.readouterr().out
        message = "from 0 to 3, which can be classes or scores, of several: mosei, meld"
        assert (message in out) == refused
        assert out.startswith("CMU-MOSEI, ") != refused
    np.savez(path, **arrays, label=[0, 3, 1, 2])
    tool([str(path), "--dataset", "iemocap4"])
    assert capsys.readouterr().out.startswith("IEMOCAP (four emotions), ")


def test_labels_that_are_missing(tool, tmp_path, capsys):
    path = tmp_path / "x.npz"
    split = ["train", "train", "valid", "test", "unlabelled", "unlabelled"]
    arrays: dict[str, Any] = dict(id=np.arange(6), split=split, audio=np.ones((6, 5)))
    label = [0.5, -1, 1, 2, np.nan, np.nan]
    np.savez(path, **arrays, label=label)
    tool([str(path), "--dataset", "mosi"])
    found = line(capsys.readouterr().out, "label")
    assert found == (["label", "-3 to 3", "-1 to 2"], False)
    label[0] = np.nan
    np.savez(path, **arrays, label=label)
    assert tool([str(path), "--dataset", "mosi"]) == 1
    out = capsys.readouterr().out
    expected = ["label", "-3 to 3", "-1 to 2", "1 not finite"]
    assert line(out, "label") == (expected, True)
    assert "is nan, but CMU-MOSI has labels from -3 to 3; 1 of 2 rows do not fit" in out
    assert 'by labelled=0 (of an .npz), or put them in the split "unlabelled"' in out


def test_annotations_say_the_dataset(tool, source, capsys):
    data = pickle.loads(source.read_bytes())
    for entry in data.values():
        entry["annotations"] = ["Happy", "sad", "angry"][: len(entry["id"])]
        del entry["regression_labels"]
        entry["audio"] = entry["vision"] = np.ones((len(entry["id"]), 50, 9))
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source)]) == 1
    assert "of a tool: --dataset iemocap)" in capsys.readouterr().out


def test_labels_of_single_modalities_hint_at_ch_sims(tool, tmp_path, capsys):
    path = tmp_path / "label.csv"
    header = "video_id,clip_id,text,label,label_T,label_A,label_V,mode"
    splits = ("train", "train", "train", "valid", "test")
    rows = [f"v,{i},well,0,1,0,1,{name}" for i, name in enumerate(splits)]
    path.write_text("\n".join([header, *rows]))
    assert tool([str(path)]) == 1
    assert "--dataset sims, or --dataset simsv2" in capsys.readouterr().out
    for dataset in ("sims", "simsv2"):
        assert tool([str(path), "--dataset", dataset]) == 0
    path.write_text(f"{header}\nv,1,well,,,,,unlabeled\n")
    assert tool([str(path)]) == 1
    assert "--dataset sims, or --dataset simsv2" in capsys.readouterr().out
    assert tool([str(path), "--dataset", "simsv2"]) == 0


def test_a_prepared_store_names_its_dataset(tool, source, tmp_path, capsys):
    folder = store.prepare(source, dataset="mosei", name="x", root=tmp_path / "root")
    assert tool([str(folder)]) == 1
    assert capsys.readouterr().out.startswith("CMU-MOSEI, ")


def test_files_that_do_not_match_are_refused_not_a_crash(
    tool, source, tmp_path, capsys
):
    data = pickle.loads(source.read_bytes())
    data["train"]["regression_labels"] = np.zeros(2)
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source)]) == 1
    assert 'of the split "train" has 2 rows, but' in capsys.readouterr().out
    path = tmp_path / "label.csv"
    path.write_text("video_id,clip_id,text,label\n")
    assert tool([str(path), "--dataset", "sims"]) == 1
    assert "the file has no rows" in capsys.readouterr().out


def test_a_file_that_training_refuses(tool, source, capsys):
    data = pickle.loads(source.read_bytes())
    data["test"]["regression_labels"][0] = 5
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source), "--dataset", "mosi"]) == 1
    out = capsys.readouterr().out
    label = ["label", "-3 to 3", "-2 to 5", "out of range"]
    assert line(out, "label") == (label, True)
    assert 'label of "test0" is 5, but CMU-MOSI has labels from -3 to 3' in out


def test_a_named_encoding(tool, tmp_path, capsys):
    path = tmp_path / "label.csv"
    splits = ("train", "train", "train", "valid", "test")
    rows = [f"v,{i},我不想嫁给李茶,0,{name}" for i, name in enumerate(splits)]
    lines = ["video_id,clip_id,text,label,mode", *rows]
    path.write_bytes("\n".join(lines).encode("gbk"))
    args = [str(path), "--dataset", "sims"]
    assert tool(args) == 1
    assert "is likely gbk, which reads" in capsys.readouterr().out
    assert tool([*args, "--encoding", "gbk"]) == 0
    assert tool([*args, "--encoding", "gkb"]) == 1
    assert 'unknown encoding "gkb"' in capsys.readouterr().out


def test_a_file_of_no_known_dataset(tool, tmp_path, capsys):
    path = tmp_path / "x.npz"
    np.savez(path, id=np.array(["a"]), label=np.zeros(1), audio=np.ones((1, 9)))
    assert tool([str(path)]) == 1
    assert "of which dataset? give --dataset (mosi, " in capsys.readouterr().out
    assert tool([str(path), "--dataset", "mosi"]) == 1
    out = capsys.readouterr().out
    assert "not divided into train, valid and test" in out and not told(out)
    assert line(out, "rows of train") == (["rows of train", "1284", "missing"], True)
    assert line(out, "audio")[0][2] == "[N, 1, 9]"


def test_the_real_files(tool, shared, recipes, capsys, monkeypatch):
    # Whether a recipe fits is tested above.
    monkeypatch.setitem(tool.__globals__, "_refusal", lambda *_: "")
    for name in ("mosi/MOSI-label.csv", "mosei/MOSEI-label.csv", "meld"):
        assert tool([str(shared / "data" / name)]) == 0
        out = capsys.readouterr().out
        for split in ("train", "valid", "test"):
            assert not line(out, f"rows of {split}")[1]


def test_the_recipes_of_this_project_are_read(tool, source, capsys, monkeypatch):
    monkeypatch.setattr(recipe, "home", _OWN)
    tool([str(source), "--dataset", "demo"])
    found = told(capsys.readouterr().out)
    assert found["lf_dnn:demo"] == "3 rows, under a batch of 32"
    assert found["text_only:demo"] and "lf_dnn:mosi" not in found


def test_the_dataset_by_widths(tool):
    """Rows first, then widths of audio and vision; text without features has none."""
    of = tool.__globals__["_dataset"]

    def corpus(rows=(2, 1, 1), **dims):
        splits = {}
        for name, count in zip(("train", "valid", "test"), rows, strict=True):
            arrays = {k: np.zeros((1, 50, d)) for k, d in dims.items()}
            splits[name] = Split(np.zeros(count), np.zeros(count), arrays)
        return Corpus("mosi", splits)

    assert of(corpus(audio=5, vision=20, text=300)) == "mosi"
    assert of(corpus(audio=74, vision=47)) == "mosi"
    assert of(corpus(audio=74, vision=35)) == "mosei"
    assert of(corpus(text=100)) == "mosi"  # of Poria et al.
    assert of(corpus((1284, 229, 686), audio=74)) == "mosi"
    for dims in (dict(audio=74), dict(text=768)):
        with pytest.raises(DataError, match="its widths are those of mosi and mosei"):
            of(corpus(**dims))
    with pytest.raises(DataError, match="of which dataset"):
        of(corpus(text=1))  # not MAG-BERT's, whose text has no features


def test_the_published_file_by_sizes(tool):
    most_like = tool.__globals__["_published"]

    def corpus(dataset, **sizes):
        arrays = {k: np.zeros((1, *size)) for k, size in sizes.items()}
        ids = np.array(["a"])
        return Corpus(dataset, {"train": Split(ids, ids, arrays)})

    sizes = dict(audio=(50, 74), vision=(50, 35))
    assert most_like(corpus("mosei", **sizes)) == "mosei/mag"
    assert most_like(corpus("mosei", **sizes, text=(50, 768))) == "mosei/aligned"
    assert most_like(corpus("mosei", audio=(500, 74))) == "mosei/unaligned"
    # A MAG pickle is as long as its longest sentence.
    assert most_like(corpus("mosi", audio=(41, 74), vision=(41, 47))) == "mosi/mag"
    assert most_like(corpus("mosi_classes", text=(1, 100))) == "mosi/poria"
    assert most_like(corpus("mosi")) == "mosi/aligned"
    assert most_like(corpus("demo")) == ""


def test_words_stand_for_text_without_features(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(tool.__globals__, "_refusal", lambda *_: "")
    rows = 5
    names = ["train"] * 3 + ["valid", "test"]
    arrays: dict[str, Any] = dict(id=np.arange(rows), split=names)
    arrays |= dict(label=np.zeros(rows), raw_text=["well"] * rows)
    for dim, expected in ((47, "words"), (20, "[N, 50, 768]")):
        audio = 74 if dim == 47 else 5
        np.savez(
            tmp_path / "x.npz",
            **arrays,
            audio=np.ones((rows, 50, audio)),
            vision=np.ones((rows, 50, dim)),
        )
        tool([str(tmp_path / "x.npz")])
        found = line(capsys.readouterr().out, "text")
        assert found == (["text", expected, "words"], expected != "words")
