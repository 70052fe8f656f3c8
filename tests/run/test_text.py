"""Pretrained encoders in runs: word pieces, weights, frozen features, what users do wrong."""

import csv
import dataclasses
import json
import pickle
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from msajax import encoders, main
from msajax.data import read
from msajax.run import corpora, init_from, opened, pretrained, recipe, text
from msajax.run.run import make
from msajax.train import step
from tests import small_encoders

pytestmark = pytest.mark.usefixtures("tokenizer_in_process")

ROWS = {"train": 6, "valid": 4, "test": 4}
SHORT = (
    *("--config.train.seeds=1", "--config.train.epochs=2"),
    *("--config.train.batch_size=2", "--config.parallel.devices=1"),
)


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSAJAX_DATA", str(tmp_path_factory.mktemp("root")))
        yield


def sims(path, **changes):
    """A pickle like CH-SIMS's: three modalities, labels of each, Chinese transcripts."""
    rng = np.random.default_rng(0)
    data = {}
    for name, rows in ROWS.items():
        data[name] = {
            "raw_text": [small_encoders.CHINESE[i % 4] for i in range(rows)],
            "id": [f"{name}$_${i}" for i in range(rows)],
            "audio": rng.normal(size=(rows, 7, 3)),
            "vision": rng.normal(size=(rows, 6, 2)),
            "audio_lengths": rng.integers(1, 8, rows).tolist(),
            "vision_lengths": rng.integers(1, 7, rows).tolist(),
            **{
                f"regression_labels{key}": np.round(rng.uniform(-1, 1, rows), 1)
                for key in ("", "_T", "_A", "_V")
            },
            **{key: draw(rows) for key, draw in changes.items()},
        }
    path.write_bytes(pickle.dumps(data))
    return path


def run(workdir, *args, config=None, short=SHORT):
    first = ("--config", config, *short) if config else ()
    return main.main([*first, "--workdir", str(workdir), *map(str, args)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a Chinese BERT and a file like CH-SIMS's."""
    folder = tmp_path_factory.mktemp("text")
    small_encoders.bert(folder / "bert")
    sims(folder / "sims.pkl")
    return folder


def options(place, **text):
    """Arguments that name the data and the encoder."""
    values = {"encoder": place / "bert", "max_length": 16, **text}
    sizes = ["--config.data.dims=()", "--config.data.lengths=()"]
    return [f"--config.data.path={place / 'sims.pkl'}", *sizes] + [
        f"--config.text.{key}={value}" for key, value in values.items()
    ]


def chosen(place, config="text_only:sims", *args, **text):
    pairs = [
        tuple(arg.removeprefix("--config.").split("=", 1))
        for arg in (*SHORT, *options(place, **text), *args)
    ]
    return recipe.load(config, pairs)  # pyright: ignore


def predictions(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [float(row["prediction"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_system_that_lacks_vision(place, tmp_path):
    args = (
        *("--config.system=msg_mba", "--config.model.align=True"),
        *("--config.model.layer=1", "--config.data.modalities=('text','audio')"),
    )
    config = "text_only:sims"
    assert run(tmp_path, *options(place), *args, config=config) == 0
    found = predictions(tmp_path / "predictions_test.csv")
    assert len(set(found)) == 4 and np.isfinite(found).all()


@pytest.mark.parametrize(
    "system,context",
    [("text_only", 1), pytest.param("mag_bert", 0, marks=pytest.mark.slow)],
)
def test_chinese_end_to_end_and_without_the_folder(
    place, system, context, tmp_path, capsys
):
    config = f"{system}:sims"
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place, elsewhere)
    folder = tmp_path / "run"
    args = [f"--config.optimizer.lora_rank={2 * context}"]
    args += options(elsewhere, context=context)
    assert run(folder, *args, config=config) == 0
    shown = capsys.readouterr().out
    assert bool(context) == ("context: 14 texts of 3 videos" in shown)
    assert shown.count("model.safetensors: ") == 1
    result = json.loads((folder / "results.json").read_text())
    assert np.isfinite(result["test"]["mae"]["mean"])
    found = predictions(folder / "predictions_test.csv")
    assert len(set(found)) == 4
    if context:
        check_adapters(folder, place)

    shutil.rmtree(elsewhere / "bert")
    again = tmp_path / "again.csv"
    args = ("--mode", "evaluate", "--output", again)
    assert run(folder, *args) == 0
    assert predictions(again) == found
    lines = ["video_id,clip_id,text", "v,1,我 很 高兴", "v,2,", "v,3,LOL \U0001f600"]
    (tmp_path / "new.csv").write_text("\n".join(lines), "utf-8")
    scores = tmp_path / "scores.csv"
    args = ("--mode", "predict", "--data", tmp_path / "new.csv", "--output", scores)
    assert run(folder, *args) == 0
    assert len(scores.read_text().splitlines()) == 4
    assert "nan" not in scores.read_text()
    other = f"--config.text.context={1 - context}"
    assert run(folder, *args, other) == 1
    assert f"text.context: {context} -> {1 - context}; leave" in capsys.readouterr().err
    if context:  # its adapters would add 40 times as much
        assert run(folder, *args, "--config.optimizer.lora_alpha=640") == 1
        said = capsys.readouterr().err
        assert "optimizer.lora_alpha: 16.0 -> 640.0; leave them out" in said


def check_adapters(folder, place):
    """A run with adapters hands over the layers with them, to itself and to other runs."""
    found = opened.open_run(folder)
    params = found.parameters(1)
    plain = make(chosen(place, context=1), folder, found.spec)
    assert params.keys() == step.shapes(plain.model).params.keys()
    weights, _ = pretrained.weights(plain.options, plain.model)
    moved = {k for k, x in weights.items() if not np.array_equal(params[k], x)}
    adapted = r"encoder/encoder/layer/\d/attention/self/(query|value)/kernel"
    assert moved and all(re.fullmatch(adapted, k) for k in moved)
    init = ("--config.init_from=" + str(folder / "seed_1"),)
    other = make(
        chosen(place, "text_only:sims", *init), folder.parent / "x", found.spec
    )
    taken = init_from.arrays(other, 1)
    assert all(np.array_equal(x, params[k]) for k, x in taken.items() if k in params)
    last = {k for k in taken if "/layer/1/" in k}
    anew = chosen(place, "text_only:sims", *init, reinit_layers=1)
    other = make(anew, folder.parent / "x", found.spec)
    assert last and init_from.arrays(other, 1).keys() == taken.keys() - last
    wider = dataclasses.replace(found.spec, classes=("a", "b", "c"))
    other = make(chosen(place, "text_only:sims", *init), folder.parent / "x", wider)
    with pytest.raises(ValueError) as refused:
        init_from.arrays(other, 1)
    assert "head/kernel is (12, 1) there, (12, 3) here" in str(refused.value)
    assert str(refused.value).endswith('--config.init_parameters="(encoder)(/.*)?"')


def test_the_example_of_what_fits_has_whole_modules_and_their_collections():
    both = {"mce/w": True, "statistics/mce/mean": True, "prompt": True, "head/w": True}
    fitting = init_from._fitting
    example = ', for example --config.init_parameters="((statistics)/)?'
    assert fitting(both, {"statistics"}) == example + '(head|mce|prompt)(/.*)?"'
    other = both | {"statistics/mce/mean": False}
    assert fitting(other, {"statistics"}) == example + '(head|prompt)(/.*)?"'
    assert fitting({"encoder/w": False}, ()) == fitting({}, ()) == ""


@pytest.mark.parametrize(
    "frozen,still",
    [(None, r".*"), (1, r"embeddings/.*|encoder/layer/0/.*")],
)
def test_what_is_frozen_stays_as_the_weights_have_it(place, tmp_path, frozen, still):
    rule = recipe.fine_tune(learning_rate=1e-3, head=1e-3, frozen_layers=frozen)
    groups = f"--config.optimizer.groups={rule['groups']}"
    path = "text_only:sims"
    assert run(tmp_path / "w", *options(place), groups, config=path) == 0
    config = chosen(place)
    corpus = corpora.read_corpus(config, tmp_path / "w")
    spec = corpora.make_spec(config, corpus)
    made = make(config, tmp_path / "w", spec)
    like = step.init(made.model, jax.random.key(0))
    found = made.checkpoints(1).restore(lambda _: {"best": like})
    assert found
    params = found[1]["best"].params
    expected, (report,) = pretrained.weights(config, made.model)
    assert report.missing == () and len(expected) == report.loaded
    assert expected.keys() == {k for k in params if k.startswith("encoder/")}
    for name, value in expected.items():
        same = np.array_equal(params[name], value)
        assert same == bool(re.fullmatch(still, name.removeprefix("encoder/"))), name
        assert name not in like.params or not np.array_equal(like.params[name], value)


def test_last_layers_may_start_from_random_values(place, tmp_path):
    def read(count):
        config = chosen(place, reinit_layers=count)
        corpus = corpora.read_corpus(config, tmp_path)
        made = make(config, tmp_path, corpora.make_spec(config, corpus))
        return set(pretrained.weights(config, made.model)[0])

    every = read(0)
    last = {k for k in every if "/layer/1/" in k}
    assert len(last) == 16 and read(1) == every - last
    with pytest.raises(ValueError, match="reinit_layers is 3, but the encoder has 2"):
        read(3)
    lora = ("--config.optimizer.lora_rank=1",)
    with pytest.raises(
        ValueError, match="not trained .* would stay random; set it to 0"
    ):
        chosen(place, "text_only:sims", *lora, reinit_layers=1)


@pytest.mark.parametrize(
    "pooling,lacking,layers,left",
    [
        ("mean", "", 1, "encoder/encoder/layer/1/.* and 15 more"),
        ("cls", "pooler", 0, "encoder/pooler/dense/.* and 1 more"),
    ],
)
def test_what_starts_from_random_values_is_trained(
    place, tmp_path, capsys, pooling, lacking, layers, left
):
    shutil.copytree(place / "bert", tmp_path / "bert")
    file = tmp_path / "bert" / "model.safetensors"
    kept = safetensors.numpy.load_file(file)
    kept = {k: x for k, x in kept.items() if not lacking or lacking not in k}
    safetensors.numpy.save_file(kept, file)
    groups = f"--config.optimizer.groups={(('encoder/.*', None), ('.*', {}))}"
    text = dict(encoder=tmp_path / "bert", reinit_layers=layers)
    args = (*options(place, **text), groups, f"--config.model.pooling={pooling}")
    assert run(tmp_path / "w", *args, config="text_only:sims") == 1
    assert re.search(f"{left} would stay random", capsys.readouterr().err)


def test_frozen_features_are_the_encoders_last_states(place, tmp_path, monkeypatch):
    config = chosen(place, frozen=True)
    corpus = corpora.read_corpus(config, tmp_path)
    pieces = corpora.read_corpus(chosen(place), tmp_path)
    folder = place / "bert"
    encoder = encoders.read_config(folder).encoder(pooler=False)
    for name, split in corpus.splits.items():
        arrays = pieces.splits[name].arrays
        ids, mask = arrays["text_ids"], arrays["text_mask"]
        params = encoder.init(jax.random.key(0), ids, mask=mask, train=False)["params"]
        params, _ = encoders.load(folder, encoder, params)
        last = encoder.apply({"params": params}, ids, mask=mask, train=False).last
        assert "text_ids" not in split.arrays
        assert split.arrays["text"].shape == (ROWS[name], 16, 12)
        assert not split.arrays["text"][~mask].any()
        np.testing.assert_allclose(
            split.arrays["text"][mask], last[jnp.asarray(mask)], atol=1e-5
        )
    loaded = text.frozen_encoder(config, tmp_path)
    monkeypatch.setattr(text.frozen, "Features", None)  # it is not loaded again
    again = corpora.read_corpus(config, tmp_path, encoder=loaded).splits["test"]
    np.testing.assert_array_equal(again.arrays["text"], split.arrays["text"])


def test_frozen_features_of_the_utterance_itself_in_its_context(place, tmp_path):
    changes = dict(context=1, context_behind=1)
    config = chosen(place, **changes)
    split = corpora.read_corpus(config, tmp_path).splits["valid"]
    own, ids = split.arrays["text_own"], split.arrays["text_ids"]
    assert (
        not own.all()
        and own.sum(axis=1).tolist() != ids.astype(bool).sum(axis=1).tolist()
    )
    spec = corpora.make_spec(config, corpora.read_corpus(config, tmp_path))
    assert "text_own" in spec.fields and spec.example(2)["text_own"].dtype == bool

    config = chosen(place, frozen=True, **changes)
    frozen = corpora.read_corpus(config, tmp_path).splits["valid"].arrays
    assert not {"text_own", "text_ids"} & frozen.keys()
    encoder = encoders.read_config(place / "bert").encoder(pooler=False)
    given = dict(mask=split.arrays["text_mask"], segments=split.arrays["text_type"])
    params = encoder.init(jax.random.key(0), ids, **given, train=False)["params"]
    params, _ = encoders.load(place / "bert", encoder, params)
    last = encoder.apply({"params": params}, ids, **given, train=False).last
    for i, steps in enumerate(own):
        count = steps.sum()
        assert frozen["text_mask"][i].tolist() == [True] * count + [False] * (
            16 - count
        )
        np.testing.assert_allclose(frozen["text"][i, :count], last[i, steps], atol=1e-5)
        assert not frozen["text"][i, count:].any()


def test_any_system_trains_on_frozen_features(place, tmp_path, monkeypatch, capsys):
    shutil.copytree(place / "bert", tmp_path / "bert")
    frozen = options(place, encoder=tmp_path / "bert", frozen=True)
    args = (*frozen, "--config.model.rank=2")
    assert run(tmp_path / "w", *args, config="lmf:sims") == 0
    found = predictions(tmp_path / "w" / "predictions_test.csv")
    output = tmp_path / "again.csv"
    args = ("--mode", "evaluate", "--output", output)
    with monkeypatch.context() as patch:
        patch.setattr(
            "msajax.encoders.frozen._encode", None
        )  # the cache has the features
        assert run(tmp_path / "w", *args) == 0
    assert predictions(output) == found

    weights = tmp_path / "bert" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    capsys.readouterr()
    assert run(tmp_path / "w", *args) == 1
    assert "their content has changed" in capsys.readouterr().err


def test_word_pieces_of_the_file(place, tmp_path, capsys):
    vocabulary = (place / "bert" / "vocab.txt").read_text("utf-8").splitlines()
    first, second = map(vocabulary.index, "不错")
    told = dict(raw_text=lambda rows: ["不错"] * rows)

    def pieces(last):
        def draw(rows):
            row = [[2, first, second, last, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]
            return np.array([row] * rows, np.float32)

        return draw

    sims(tmp_path / "sims.pkl", text_bert=pieces(3), **told)
    shutil.copytree(place / "bert", tmp_path / "bert")
    config = chosen(tmp_path)
    corpus = corpora.read_corpus(config, tmp_path / "w")
    found = corpus.splits["train"].arrays["text_ids"]
    assert found.tolist() == [[2, first, second, 3, 0]] * 6
    assert corpora.make_spec(config, corpus).lengths[0] == 5
    sims(tmp_path / "sims.pkl", text_bert=pieces(99), **told)
    with pytest.raises(ValueError, match="end with the id 99"):
        corpora.read_corpus(config, tmp_path / "w")
    raw = corpora.read_corpus(chosen(tmp_path, raw=True), tmp_path / "w")
    assert raw.splits["train"].arrays["text_ids"].shape == (6, 16)

    def beyond(rows):
        made = pieces(3)(rows)
        made[1, 0, 1] = 900
        return made

    sims(tmp_path / "sims.pkl", text_bert=beyond, **told)
    with pytest.raises(ValueError, match='split "train".*id 900.*words'):
        corpora.read_corpus(config, tmp_path / "w")


@pytest.mark.parametrize(
    "config,changes,message",
    [
        ("mag_bert:sims", {"encoder": ""}, "config.text.encoder"),
        ("mag_bert:sims", {"frozen": True}, "inside its encoder"),
        ("text_only:sims", {"max_length": 30}, "positions for 20"),
        ("text_only:sims", {"max_length": 0}, "max_length is 0, but must be above 0"),
        ("tfn:sims", {}, "config.text.frozen=True"),
        ("text_only:sims", {"encoder": "", "frozen": True}, "no encoder"),
        ("text_only:sims", {"encoder": "./none"}, "no folder ./none"),
        ("mag_xlnet:mosi", {}, "takes an encoder of type XLNet"),
        ("mag_bert:sims", {"words": True}, "rows, but its text 1 words"),
    ],
)
def test_recipes_that_do_not_fit(place, tmp_path, capsys, config, changes, message):
    args = list(options(place, **changes))
    if "mosi" in config:
        args += ["--config.data.dataset=sims", "--config.text.words=False"]
    assert run(tmp_path / "w", *args, config=config) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "w" / "config.json").exists()


def test_folders_that_cannot_be_used(place, tmp_path, capsys):
    def refused(change, message):
        folder = tmp_path / message.split()[0].strip(".:")
        shutil.copytree(place / "bert", folder)
        change(folder)
        args = options(place, encoder=folder)
        assert run(tmp_path / "w", *args, config="text_only:sims") == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "w" / "config.json").exists()

    def truncate(folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:2000])

    def another(folder):
        (folder / "config.json").write_text('{"model_type": "albert"}')

    refused(truncate, "truncated")
    refused(another, "supported are bert, roberta")
    refused(lambda f: (f / "config.json").unlink(), "config.json")
    refused(lambda f: (f / "vocab.txt").unlink(), "tokenizer")


@pytest.mark.slow
def test_xlnet_with_a_row_per_word(tmp_path):
    small_encoders.xlnet(tmp_path / "xlnet")
    rng = np.random.default_rng(0)

    def row(words, name):
        features = rng.normal(size=(2, len(words), 3))
        return (words, features[0], features[1]), np.array([[1.0]]), name

    words = (["not", "funny", "!"], ["a", "lot"])
    data = {
        name: [row(words[i % 2], f"{name}{i}") for i in range(rows)]
        for name, rows in (("train", 6), ("dev", 4), ("test", 4))
    }
    (tmp_path / "mag.pkl").write_bytes(pickle.dumps(data))
    pairs = {
        "data.path": tmp_path / "mag.pkl",
        "data.dims": "()",
        "text.encoder": tmp_path / "xlnet",
        "text.max_length": 10,
    }
    args = [f"--config.{key}={value}" for key, value in pairs.items()]
    config = recipe.load("mag_xlnet:mosi", [(k, str(v)) for k, v in pairs.items()])
    corpus = corpora.read_corpus(config, tmp_path / "w")
    original = read.read(tmp_path / "mag.pkl", dataset="mosi").splits["train"].arrays
    arrays = corpus.splits["train"].arrays
    # not fun ny ! <sep> <cls>, padded at the end
    assert arrays["text_mask"].sum(axis=1).tolist() == [7, 4] * 3
    assert arrays["text_ids"][0, 5:].tolist() == [4, 3, 0, 0, 0]
    audio = original["audio"][0]
    np.testing.assert_array_equal(arrays["audio"][0, :5], audio[[0, 1, 1, 2, 2]])
    assert not arrays["audio"][0, 5:].any()
    assert run(tmp_path / "w", *args, config="mag_xlnet:mosi") == 0


@pytest.mark.parametrize(
    "system", ["text_only", pytest.param("mag_bert", marks=pytest.mark.slow)]
)
def test_half_precision_runs_in_half_precision(place, tmp_path, system):
    config = chosen(place, f"{system}:sims", "--config.precision=bfloat16")
    corpus = corpora.read_corpus(config, tmp_path)
    made = make(config, tmp_path, corpora.make_spec(config, corpus))
    variables = step.variables(step.init(made.model, jax.random.key(0)))
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
    batch = made.spec.example(2)
    out = made.model.apply(half, batch, train=False)
    if system == "mag_bert":
        assert {x.dtype for x in out["hidden"]} == {jnp.dtype(jnp.bfloat16)}
    full = made.model.apply(variables, batch, train=False)
    np.testing.assert_allclose(out["pred"], full["pred"], atol=0.05)
