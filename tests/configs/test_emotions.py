"""ALR and MSG/MBA on MELD and IEMOCAP with audio and vision, from files in the published layouts."""

import pickle

import jax
import numpy as np
import pytest

from msajax.data import clean, loader, read
from msajax.data.spec import DATASETS, Corpus, Split
from msajax.encoders.bert import BertConfig
from msajax.run import recipe
from msajax.run.options import build
from msajax.train import evaluate, optim, step

WORDS = "okay wow help sorry great yuck never".split()
# Widths of text, audio and vision; those of MM-DFN's files are 100, 1582, 342 and 600, 300, 342.
WIDTHS = {"iemocap": (5, 4, 3), "meld": (6, 3, 2)}


def write(path, dataset, turns=4):
    """IEMOCAP_features.pkl or MELD_features_raw1.pkl: 14 dialogues, of which two are for test."""
    rng, meld = np.random.default_rng(0), dataset == "meld"
    ids = [*range(14)] if meld else [f"Ses{i:02d}F" for i in range(14)]

    def each(make):
        return {key: [make(d, i) for i in range(turns)] for d, key in enumerate(ids)}

    classes = len(DATASETS[dataset].classes)
    labels = each(lambda d, i: (d + i) % classes)
    vectors = [each(lambda d, i, n=n: rng.normal(size=n)) for n in WIDTHS[dataset]]
    sentences = each(lambda d, i: f"{WORDS[(d + i) % 7]} {WORDS[i]}")
    names = each(lambda d, i: i if meld else f"{ids[d]}_{i:03d}")
    speakers = each(lambda d, i: np.eye(9)[i % 3].tolist() if meld else "MF"[i % 2])
    data = (names, speakers, labels, *vectors, sentences, {*ids[:12]}, {*ids[12:]})
    path.write_bytes(pickle.dumps(data + (labels,) * meld, protocol=2))
    return read.read(path, dataset=dataset)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("emotions")
    return {name: write(folder / f"{name}.pkl", name) for name in WIDTHS}


def with_pieces(corpus, length=6):
    """The corpus with word pieces in the place of the text's features."""
    splits = {}
    for name, split in corpus.splits.items():
        pieces = np.array([[WORDS.index(w) for w in t.split()] for t in split.raw_text])
        pieces = np.pad(pieces, ((0, 0), (0, length - 2))).astype(np.int32)
        real = np.arange(length) < np.full((len(split), 1), 2)
        made = dict(text_ids=pieces, text_type=0 * pieces, text_mask=real)
        arrays = {k: v for k, v in split.arrays.items() if k != "text"} | made
        splits[name] = Split(split.ids, split.raw_text, arrays)
    return Corpus(corpus.dataset, splits, corpus.notes)


BERT = BertConfig(
    vocab_size=8,
    hidden_size=6,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=8,
)
TINY = {
    "alr": dict(dim=4, heads=2, tokens=2, hidden=4, layers=1),
    "msg_mba": dict(dim=4, fusion_dim=6, layer=1),
}


def made(name, corpora, **model):
    """(options, system, splits) of a recipe on the file of its data set."""
    options = recipe.load(name)
    options = recipe.change(options, {f"model.{k}": v for k, v in model.items()})
    corpus = clean.select(corpora[options.data.dataset], options.data.modalities)
    assert (
        "text" in corpus.splits["train"].arrays
    )  # the file's, which the encoder's replace
    corpus = with_pieces(corpus)
    spec = loader.make_spec(corpus)
    return options, build(options, spec, BERT), corpus.splits


ROWS = [n.split("/")[1] for n in recipe.names() if n.startswith("alr:meld/")]


# A row of each kind: others of the kind are slow.
EACH_KIND = ("", "no_audio_vision", "no_ur", "no_ali", "addition")


def cases():
    """Rows of ALR's tables on one set; slow: on the other, and rows of the same kind."""
    for i, row in enumerate(["", *ROWS]):
        for j, dataset in enumerate(WIDTHS):
            slow = i % 2 != j or row not in EACH_KIND
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param(f"alr:{dataset}{row and '/'}{row}", marks=marks)


@pytest.mark.parametrize("name", [*cases()])
def test_rows_of_alr_build(corpora, name):
    options, model, _ = made(name, corpora)
    widths = WIDTHS[options.data.dataset]
    there = [m in options.data.modalities for m in ("audio", "vision")]
    assert model.spec.dims[1:] == tuple(np.where(there, widths[1:], 1))
    params = step.shapes(model).params
    for modality, present in zip(("audio", "vision"), there, strict=True):
        assert (f"project_{modality}/kernel" in params) == present
    assert params["head/kernel"].shape[1] == len(DATASETS[options.data.dataset].classes)


NAMES = ("alr:meld", "alr:iemocap", "msg_mba:meld", "msg_mba:iemocap")


def one_step(corpora, name):
    """(options, gradients as a function of the parameters, their shapes)."""
    options, model, splits = made(name, corpora, **TINY[name.partition(":")[0]])
    (phase,) = options.plan
    batch = loader.pad(splits["train"], model.spec)
    batch |= {"valid": np.ones(len(splits["train"]), bool)}
    progress = {"epoch": 0, "step": 0, "fraction": 0.0, "lr_scale": 1.0}
    rngs = {stream: jax.random.key(0) for stream in ("params", "dropout")}

    def loss_of(params):
        variables, options = step.variables(step.State(params, {}, {})), dict(rngs=rngs)
        options |= dict(train=True, progress=progress, method=phase.loss)
        return model.apply(variables, batch, **options)[0]

    shapes = step.shapes(model).params
    optim.assign(phase.optimizer, shapes)  # an error where a group covers nothing
    return options, jax.value_and_grad(loss_of), shapes


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if i % 2 else [])
        for i, name in enumerate(NAMES)
    ],
)
def test_the_loss_is_of_all_and_measured_as_in_table_iv(corpora, name):
    options, run, shapes = one_step(corpora, name)
    loss, grads = jax.eval_shape(run, shapes)
    assert loss.shape == () and grads.keys() == shapes.keys()
    names = evaluate.metric_names(DATASETS[options.data.dataset])
    assert names[:2] == ("accuracy", "weighted_f1")
    assert options.train.select == "weighted_f1"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_step_trains_all_parts(corpora, name, quick_random):
    _, run, shapes = one_step(corpora, name)
    rng = np.random.default_rng(0)
    params = {
        k: rng.normal(size=x.shape, scale=0.3).astype(np.float32)
        for k, x in shapes.items()
    }
    loss, grads = jax.device_get(jax.jit(run)(params))
    assert np.isfinite(loss)
    learn = {k.partition("/")[0] for k, x in grads.items() if np.any(x)}
    assert learn == {k.partition("/")[0] for k in params}
    assert {"encoder", f"{'project' if 'alr' in name else 'msg'}_audio"} < learn
