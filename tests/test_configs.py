"""Every recipe of the public systems fits its system, at full size."""

import dataclasses
import importlib
import itertools
import re

import jax
import numpy as np
import pytest
from flax import traverse_util

from configs import _mfon, _misa, _msg_mba, _self_mm, common
from msajax import config as config_module
from msajax import models, step
from msajax.data.spec import DATASETS, MODALITIES, Spec
from msajax.nn.bert import BertConfig
from msajax.nn.xlnet import XLNetConfig
from msajax.optim import Optimizer, assign
from tests import toys

SYSTEMS = ("ef_lstm", "lf_dnn", "tfn", "lmf", "mult")
SIZES = {  # dims and lengths of the unaligned files; source: thuiar/MMSA
    "mosi": ((768, 5, 20), (50, 375, 500)),
    "mosei": ((768, 74, 35), (50, 500, 500)),
    "sims": ((768, 33, 709), (39, 400, 55)),
    "simsv2": ((768, 25, 177), (50, 925, 232)),
}


@pytest.mark.parametrize("dataset", SIZES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_recipe(system, dataset):
    config = importlib.import_module(f"configs.{system}_{dataset}").get_config()
    assert (config.system, config.data.dataset) == (system, dataset)
    dims, lengths = SIZES[dataset]
    if config.data.variant == "aligned":
        lengths = (lengths[0],) * 3
    assert (config.data.dims, config.data.lengths) == (dims, lengths)
    assert (config.data.variant == "aligned") == (
        system == "ef_lstm" and dataset in ("mosi", "mosei")
    )

    spec = Spec(dims, lengths, 1284, DATASETS[dataset].label_range)
    model = models.get(system)(spec, **config.model)
    batch = spec.example(2)
    variables = jax.eval_shape(
        lambda key: model.init(key, batch, train=False), jax.random.key(0)
    )
    optimizer = Optimizer(**config.optimizer)
    paths = [
        "/".join(entry.key for entry in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
    ]
    groups = assign(optimizer, paths)
    factors = {path for path in paths if path.endswith("_factor")}
    if system == "lmf":
        assert {path for path in paths if groups[path] == 0} == factors
        assert len(factors) == 3 and optimizer.groups[0][1]["weight_decay"] == 0
    assert config.train.patience == 8


ENCODERS = {  # source: config.json of the released models
    "bert-base-uncased": BertConfig(),
    "bert-base-chinese": BertConfig(vocab_size=21128),
    "xlnet-base-cased": XLNetConfig(),
}
WITH_ENCODER = (  # '': the recipe's
    *itertools.product(
        ("almt", "text_only", "mag_bert"), ("mosi", "mosei", "sims"), ("",)
    ),
    *itertools.product(("iml_cmm",), ("mosi", "mosei", "simsv2"), ("",)),
    *itertools.product(("mag_xlnet", "msg_mba"), ("mosi", "mosei"), ("",)),
    ("msg_mba", "mosi", "xlnet-base-cased"),
)


@pytest.mark.parametrize("system,dataset,encoder", WITH_ENCODER)
def test_recipe_with_an_encoder(system, dataset, encoder):
    config = importlib.import_module(f"configs.{system}_{dataset}").get_config()
    config.text.encoder = encoder or config.text.encoder
    assert (config.system, config.data.dataset) == (system, dataset)
    config_module.check(config)
    dims = config.data.dims or (1, 1, 1)
    lengths = config.data.lengths or (config.text.max_length, 1, 1)
    assert lengths[0] == config.text.max_length
    fields = (*Spec.fields, "text_ids", "text_type")
    spec = Spec(dims, lengths, 1284, DATASETS[dataset].label_range, fields=fields)
    model = config_module.build(config, spec, ENCODERS[config.text.encoder])
    batch = spec.example(2)
    out, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, batch, train=False), jax.random.key(0)
    )
    assert out["pred"].shape == (2,)
    paths = traverse_util.flatten_dict(variables["params"], sep="/")
    assign(Optimizer(**config.optimizer), paths)  # every group covers something


@pytest.mark.parametrize("dataset", ["mosei", "mosi", "simsv2"])
@pytest.mark.parametrize("row", ["cormult", "paper", "pre_comb", "fuse"])
def test_recipe_of_cormult(dataset, row):
    config = importlib.import_module(f"configs.cormult_{dataset}").get_config(row)
    if row == "fuse":
        with pytest.raises(ValueError, match="name its workdir: --config.init_from"):
            config_module.check(config)
        config.init_from = "runs/mce"
        assert re.fullmatch(config.init_parameters, "statistics/mce/covariance")
    config_module.check(config)
    dims, lengths = SIZES[dataset]
    assert (config.data.dims, config.data.lengths) == (dims, lengths)
    spec = Spec(dims, lengths, 1284, DATASETS[dataset].label_range)
    if config.text.vocabulary:
        fields = tuple("text_ids" if f == "text" else f for f in spec.fields)
        words = dict(dims=(1, *dims[1:]), fields=fields, vocabulary=9000)
        spec = dataclasses.replace(spec, **words)
    model = config_module.build(config, spec)
    params = step.shapes(model).params
    phases = config_module.phases(config)
    trained = [k for p in phases for k in params if re.fullmatch(p.train, k)]
    left = {k for k in params if k.startswith("mce/")} if row == "fuse" else set()
    assert sorted(trained) == sorted(set(params) - left)
    if row == "paper":
        assert params["mce/network_audio/time_kernel"].shape == (lengths[1], 64)
        assert params["mult/out/kernel"].shape == (180, 7)
        assert params["mult/words/embedding"].shape == (9000, 128)
        assert params["mce/network_text/embed/embedding"].shape == (9000, 128)


@pytest.mark.parametrize("dataset", ["sims", "simsv2"])
def test_recipe_of_av_mc(dataset):
    config = importlib.import_module(f"configs.av_mc_{dataset}").get_config()
    config_module.check(config)
    dims, lengths = SIZES[dataset]
    assert (config.data.dims, config.data.lengths) == (dims, lengths)
    # Frozen: the system takes features.
    assert config.text.frozen and config.text.max_length == lengths[0]
    fields = (*Spec.fields, *(f"label_{m}" for m in MODALITIES))
    spec = Spec(dims, lengths, 1284, DATASETS[dataset].label_range, fields=fields)
    model = config_module.build(config, spec)
    assert model.output_range == spec.label_range and model.notes == ()
    params = step.shapes(model).params
    groups = assign(Optimizer(**config.optimizer), params)
    names = {0: "audio", 1: "vision"}
    for path, group in groups.items():
        # The heads on audio and vision are not in their groups, as theirs.
        assert path.split("/")[0] == names.get(group, path.split("/")[0])
        assert (group == 2) == (path.split("/")[0] not in names.values())


@pytest.mark.parametrize("dataset", SIZES)
@pytest.mark.parametrize("system", ["misa", "self_mm"])
def test_recipe_of_misa_and_self_mm(system, dataset):
    config = config_module.load(
        f"configs/{system}_{dataset}.py", [("model.scan", "True")]
    )
    dims, lengths = SIZES[dataset]
    assert (config.data.dims, config.data.lengths) == (dims, lengths)
    assert config.text.max_length == lengths[0]
    model, params = with_an_encoder(config, dims, lengths)
    groups = assign(Optimizer(**config.optimizer), params)
    if system == "misa":
        width = 4 * dims[2]  # both layers and directions
        assert params["project_vision/kernel"].shape == (width, model.dim)
        clip = 1.0 if dataset == "sims" else 0.8
        assert config.optimizer.clip_value * config.train.accumulate == clip
        return
    assert params["post_text/layer_1/kernel"].shape == (768, model.post_dims[0])
    names = "encoder", "encoder", "audio", "vision", "post"
    for path, group in groups.items():
        assert path.startswith(names[group])
        small = re.search("bias$|[nN]orm/scale$", path) is not None
        assert group > 1 or small == (group == 0)


def with_an_encoder(config, dims, lengths):
    """(system, shapes of its parameters) at full size."""
    fields = (*Spec.fields, "text_ids", "text_type")
    scale = DATASETS[config.data.dataset].label_range
    spec = Spec(dims, lengths, 1284, scale, fields=fields)
    model = config_module.build(config, spec, ENCODERS.get(config.text.encoder))
    shapes = step.shapes(model)
    return model, shapes.params


@pytest.mark.parametrize("row", _misa.ROWS)
def test_rows_of_misa(row):
    config = config_module.load(f"configs/misa_mosi.py:{row}")
    found = [m in config.data.modalities for m in MODALITIES]
    assert (config.text.encoder != "") == found[0]
    assert sum(found) == (2 if row in ("no_text", "no_audio", "no_vision") else 3)
    weights = {k: config.model[k] for k in ("similarity", "difference")}
    weights["reconstruction"] = config.model.reconstruction
    left_out = {f"no_{name}" for name, weight in weights.items() if not weight}
    assert left_out == ({row} & {f"no_{name}" for name in weights})


@pytest.mark.parametrize("row", _self_mm.ROWS)
def test_rows_of_self_mm(row):
    config = config_module.load(f"configs/self_mm_sims.py:{row}")
    letters = {m[0] for m in config.model.tasks} | {"m"}
    assert letters == set("mtav" if row == "self_mm" else row)


@pytest.mark.parametrize("system,row", [("misa", "no_difference"), ("self_mm", "mtv")])
def test_unknown_rows_of_misa_and_self_mm(system, row):
    with pytest.raises(ValueError, match=f'unknown row "{row}s"; did you mean "{row}"'):
        config_module.load(f"configs/{system}_mosi.py:{row}s")


MFON = (*itertools.product(SIZES, ("mfon",)), *(("sims", row) for row in _mfon.ROWS))
MFON = [pair for pair in dict.fromkeys(MFON) if pair[0] != "simsv2"]


@pytest.mark.parametrize("dataset,row", MFON)
def test_recipe_of_mfon(dataset, row):
    config = importlib.import_module(f"configs.mfon_{dataset}").get_config(row)
    config_module.check(config)
    dims, lengths = SIZES[dataset]
    assert (config.data.dims, config.data.lengths) == (dims, lengths)
    fields = (*Spec.fields, "text_ids", "text_type")
    spec = Spec(dims, lengths, 1284, DATASETS[dataset].label_range, fields=fields)
    model = config_module.build(config, spec, ENCODERS.get(config.text.encoder))
    shapes = step.shapes(model)
    # Every parameter is trained, by one phase alone.
    trained = []
    for phase in config_module.phases(config):
        paths = [k for k in shapes.params if re.fullmatch(phase.train, k)]
        assert None not in assign(phase.optimizer, paths).values()
        assert callable(getattr(model, phase.loss))
        assert callable(getattr(model, phase.predict))
        updates = (phase.batch_size, phase.accumulate, phase.epochs, phase.patience)
        assert updates == (128, 1, 25, 0)  # section 4.3
        trained += paths
    assert sorted(trained) == sorted(shapes.params)


# As the authors' config.py: MOSI, MOSEI, SIMS; pairs are of vision and audio.
SETTINGS_OF_MFON = {
    "shapes": [
        ((500, 20), (375, 5)),
        ((500, 35), (500, 74)),
        ((55, 709), (400, 33)),
    ],
    "BERT": ["bert-base-uncased", "bert-base-uncased", "bert-base-chinese"],
    "teacher layers": [(4, 3), (4, 2), (5, 3)],
    "teacher dropout": [(0.3, 0.0), (0.0, 0.0), (0.1, 0.5)],
    "MPA layers": [(2, 5), (2, 3), (5, 2)],
    "MPA and text dropout": [(0.1, 0.3), (0.1, 0.3), (0.6, 0.5)],
    "pretraining rates": [(1e-3, 1e-3), (1e-4, 1e-4), (1e-4, 1e-3)],
    "pretraining decay": [(1e-3, 1e-3)] * 3,
    "rates of text, audio, vision, other": [
        (5e-5, 1e-3, 1e-3, 1e-3),
        (5e-5, 1e-3, 1e-4, 1e-3),
        (5e-5, 1e-3, 1e-3, 1e-3),
    ],
    "their decay": [
        (1e-3, 1e-3, 1e-3, 1e-3),
        (1e-2, 1e-3, 1e-3, 1e-3),
        (1e-3, 1e-3, 1e-2, 1e-2),
    ],
    "delta_va, delta_nce": [(0.5, 0.5), (0.3, 0.001), (0.5, 0.005)],
    "heads, width": [(8, 768)] * 3,
    "epochs, rows an update": [(25, 4 * 32)] * 3,
    "rules": [("amsgrad", "amsgrad", "adam")] * 3,
    "own labels": [False, False, True],
}


@pytest.mark.parametrize("i,dataset", [(0, "mosi"), (1, "mosei"), (2, "sims")])
def test_settings_of_mfon(i, dataset):
    config = importlib.import_module(f"configs.mfon_{dataset}").get_config()
    sizes = tuple(zip(config.data.lengths, config.data.dims, strict=True))
    model = config_module.build(config, Spec((1, 1, 1), (1, 1, 1), 1))
    phases = config_module.phases(config)
    rules = [phase.optimizer for phase in phases]
    groups = [settings for _, settings in rules[2].groups]
    # The authors' gradients are sums of 4 batches of 32, ours are means of 128 rows.
    decay = 4 * np.array([g["weight_decay"] for g in groups])
    found = {
        "shapes": sizes[:0:-1],
        "BERT": config.text.encoder,
        "teacher layers": model.teacher_layers[::-1],
        "teacher dropout": model.teacher_dropouts[::-1],
        "MPA layers": model.layers[::-1],
        "MPA and text dropout": (model.dropout, model.text_dropout),
        "pretraining rates": tuple(rule.learning_rate for rule in rules[:2]),
        "pretraining decay": tuple(4 * rule.weight_decay for rule in rules[:2]),
        "rates of text, audio, vision, other": tuple(
            g["learning_rate"] for g in groups
        ),
        "their decay": tuple(decay),
        "delta_va, delta_nce": (model.distillation, model.contrast),
        "heads, width": (model.heads, model.dim),
        "epochs, rows an update": (
            *(phases[2].epochs, phases[2].batch_size * phases[2].accumulate),
        ),
        "rules": tuple(rule.name for rule in rules),
        "own labels": model.own_labels,
    }
    assert [phase.name for phase in phases] == ["vision", "audio", "fuse"]
    assert found == {name: values[i] for name, values in SETTINGS_OF_MFON.items()}


@pytest.mark.parametrize("query", MODALITIES)
def test_groups_of_mfon(query):
    row = "mfon" if query == "text" else f"{query}_query"
    config = importlib.import_module("configs.mfon_sims").get_config(row)
    wanted = {f"project_{m}/kernel": m for m in MODALITIES}
    wanted |= {"encoder/kernel": "text", "decoder/kernel": "other"}
    for m in MODALITIES:
        if m != query:  # where the query is not text, text takes its place
            place = query if m == "text" else m
            wanted |= {f"mpa_{m}/kernel": place, f"prompt_{m}": place}
    found = assign(config_module.phases(config)[2].optimizer, wanted)
    names = (*MODALITIES, "other")
    assert {path: names[i] for path, i in found.items()} == wanted


def rows_of_msg_mba():
    """(dataset, row, what else is set) of the paper's Tables III to VI and Fig. 5."""
    for dataset, row in itertools.product(("mosi", "mosei"), _msg_mba.ROWS):  # III, IV
        yield dataset, row, []
    for encoder in ("bert-base-uncased", "xlnet-base-cased"):
        text = ("text.encoder", encoder)
        for row in ("no_modules", "msg_tav", "no_shift_loss", "msg_mba"):  # V
            yield "mosi", row, [text]
        for name in ("sLSTM", "bLSTM", "sGRU", "bGRU"):  # VI
            yield "mosi", "msg_mba", [text, ("model.recurrent", name)]
        for layer in range(13):  # Fig. 5
            yield "mosi", "msg_mba", [text, ("model.layer", str(layer))]


@pytest.mark.parametrize("dataset,row,overrides", [*rows_of_msg_mba()])
def test_rows_of_msg_mba(dataset, row, overrides):
    path = f"configs/msg_mba_{dataset}.py:{row}"
    # One layer of the encoder is traced for all.
    config = config_module.load(path, [*overrides, ("model.scan", "True")])
    found = [m in config.data.modalities for m in MODALITIES]
    lengths = config.data.lengths or (60, 60, 60)
    dims, lengths = (tuple(np.where(found, x, 1)) for x in (config.data.dims, lengths))
    fields = (*Spec.fields, "text_ids", "text_type")
    spec = Spec(dims, lengths, 1284, fields=fields if found[0] else Spec.fields)
    model = config_module.build(config, spec, ENCODERS.get(config.text.encoder))
    assert (model.encoder is not None) == found[0] == config.text.words
    params = step.shapes(model).params
    times = 2 if config.model.recurrent.startswith("b") else 1
    width = 768 * found[0] + times * (dims[1] * found[1] + dims[2] * found[2])
    assert params["fusion/kernel"].shape == (width, 768)
    assign(Optimizer(**config.optimizer), params)
    assert config.train.epochs == (40 if dataset == "mosi" else 20)


def test_an_encoder_is_no_row():
    with pytest.raises(ValueError, match="Known: .*msg_t, .*config.text.encoder"):
        config_module.load("configs/msg_mba_mosi.py:xlnet-base-cased")


# Modalities that the public files have; IEMOCAP has none.
EMOTIONS = {"meld": ("text",), "iemocap": MODALITIES}


@pytest.mark.parametrize("dataset", ["mosei", *EMOTIONS])
def test_recipe_of_alr(dataset):
    path = f"configs/alr_{dataset}.py"
    config = config_module.load(path, [("model.scan", "True")])
    train, optimizer = config.train, Optimizer(**config.optimizer)
    settings = (train.epochs, train.batch_size, optimizer.name, optimizer.learning_rate)
    assert settings == (50, 64, "adam", 1e-5)  # Table II
    model, out, params = at_full_size(config)
    assert (model.dim, model.layers, model.dropout, model.beta) == (256, 6, 0.5, 1)
    assert out["pred"].shape == (
        (2,) if dataset == "mosei" else (2, len(classes(config)))
    )
    groups = assign(optimizer, params)
    assert {k for k, i in groups.items() if i == 0} == {
        k for k in params if k.startswith("encoder/")
    }
    changed = config_module.load(path, [("optimizer.learning_rate", "1e-3")])
    encoder, rest = (g for _, g in Optimizer(**changed.optimizer).groups)
    assert encoder == {"learning_rate": 1e-5} and rest == {}


def test_recipe_of_text_only_on_meld():
    config = config_module.load("configs/text_only_meld.py", [("model.scan", "True")])
    _, out, params = at_full_size(config)
    assert out["pred"].shape == (2, 7) and out["text"].shape == (2, 768)
    assign(Optimizer(**config.optimizer), params)


def classes(config):
    return DATASETS[config.data.dataset].classes


def at_full_size(config):
    """(system, shapes of its outputs, of its parameters) with the encoder of a recipe."""
    name, length = config.data.dataset, config.text.max_length
    present = EMOTIONS.get(name, MODALITIES)
    dims, lengths = (768, 74, 35), (length, 500, 500)
    if name == "mosei":
        assert (config.data.dims, config.data.lengths) == (dims, lengths)
    sizes = [dims, lengths]
    for i, modality in enumerate(MODALITIES):
        if modality not in present:
            sizes = [(*x[:i], 1, *x[i + 1 :]) for x in sizes]
    fields = (*Spec.fields, "text_ids", "text_type")
    scale = DATASETS[name].label_range
    spec = Spec(*sizes, 1284, scale, classes(config), fields)
    model = config_module.build(config, spec, ENCODERS[config.text.encoder])
    out, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, spec.example(2), train=False),
        jax.random.key(0),
    )
    return model, out, traverse_util.flatten_dict(variables["params"], sep="/")


@pytest.mark.parametrize("encoder", [BertConfig(), XLNetConfig()])
@pytest.mark.parametrize(
    "layers,frozen",
    [(0, set()), (2, {"0", "1"}), (None, set(map(str, range(12))))],
)
def test_fine_tuning(encoder, layers, frozen):
    config = importlib.import_module("configs.text_only_mosi").get_config()
    common.fine_tune(config, learning_rate=5e-5, head=1e-3, frozen_layers=layers)
    optimizer = Optimizer(**config.optimizer)
    network = encoder.encoder()
    ids = np.zeros((1, 2), np.int32)
    params = jax.eval_shape(
        lambda key: network.init(key, ids, mask=ids == 0, train=False),
        jax.random.key(0),
    )["params"]
    paths = [f"encoder/{k}" for k in traverse_util.flatten_dict(params, sep="/")]
    others = ("head/kernel", "head/bias", "gate/norm/scale")
    groups = assign(optimizer, [*paths, *others])
    kept = {k for k, group in groups.items() if group is None}
    assert {re.search(r"layer/(\d+)/", k)[1] for k in kept if "layer/" in k} == frozen
    assert any("embedding" in k for k in kept) == (layers != 0)
    assert layers is not None or kept == set(paths)
    for path in set(groups) - kept:
        settings = optimizer.groups[groups[path]][1]
        small = re.search("bias$|[nN]orm/scale$", path) is not None
        assert (settings.get("weight_decay", 0.01) == 0) == small
        assert settings.get("learning_rate", 1e-3) == (5e-5 if path in paths else 1e-3)


@pytest.mark.parametrize(
    "argument",
    [
        *("mfon/text", "msg_mba/msg_t", "alr/layers_3", "iml_cmm/no_kan"),
        *("misa/no_difference", "cormult/pre_at"),
    ],
)
def test_rows_on_the_demo_corpus(argument):
    system, row = argument.split("/")
    config = config_module.load(f"configs/demo.py:{argument}", [])
    assert config.system == system and config.data.dataset == "demo"
    changes = importlib.import_module(f"configs._{system}").ROWS[row]
    assert {k: config.model[k] for k in changes} == changes


JOINED = {  # a recipe with rows of each system
    "alr": "alr_mosei",
    "cormult": "cormult_mosei",
    "iml_cmm": "iml_cmm_simsv2",
    "mfon": "mfon_sims",
    "misa": "misa_mosi",
    "msg_mba": "msg_mba_mosi",
    "self_mm": "self_mm_sims",
}


@pytest.mark.parametrize("system,recipe", JOINED.items())
def test_two_rows_together_are_one_after_the_other(system, recipe):
    """Each key is the later row's, but where a row leaves modalities out both do."""
    load = importlib.import_module(f"configs.{recipe}").get_config
    rows = importlib.import_module(f"configs._{system}").ROWS
    flat = {row: flattened(load(row)) for row in rows}
    plain, joined = flat[system], 0
    for a, b in itertools.permutations(rows, 2):
        changed = {
            row: {k: v for k, v in flat[row].items() if v != plain.get(k)}
            for row in (a, b)
        }
        try:
            found = flattened(load(f"{a}+{b}"))
        except ValueError as error:
            assert re.search("is left in|leave no modality", str(error)), (a, b)
            continue
        wanted = plain | changed[a] | changed[b]
        modalities = [flat[row]["data.modalities"] for row in (a, b)]
        if len({plain["data.modalities"], *modalities}) > 2:
            both = tuple(m for m in modalities[0] if m in modalities[1])
            wanted["data.modalities"] = found["data.modalities"]
            assert found["data.modalities"] == both, (a, b)
        if system == "mfon":  # its phases go by the rows together
            wanted["phases"] = found["phases"]
        assert found == wanted, (a, b)
        joined += 1
    assert joined > len(rows)


def flattened(config):
    """{'section.key': value} of a recipe."""
    values = config.to_dict()
    flat = {k: v for k, v in values.items() if not isinstance(v, dict)}
    for section, keys in values.items():
        if isinstance(keys, dict):
            flat |= {f"{section}.{k}": v for k, v in keys.items()}
    return flat


def test_an_unknown_part_of_rows_names_the_nearest():
    known = {"paper": {"dim": 3}, "strategy_a": {"strategy": "A"}}
    with pytest.raises(ValueError, match='"strategy_b"; did you mean "strategy_a"'):
        common.join_rows("paper+strategy_b", known)
    with pytest.raises(ValueError, match='unknown row "". Known: paper'):
        common.join_rows("paper+", known)
    with pytest.raises(ValueError, match='nothing of the row "paper" is left.*dim'):
        common.join_rows("paper+wide", known | {"wide": {"dim": 5}})
    # A later row may refine an earlier one.
    refined = common.join_rows(
        "both+wide", {"both": dict(dim=3, a=1), "wide": dict(dim=5)}
    )
    assert refined == dict(dim=5, a=1)


def test_a_system_without_rows():
    with pytest.raises(ValueError, match="lf_dnn has no rows"):
        importlib.import_module("configs.demo").get_config("lf_dnn/text")


@pytest.mark.parametrize("system", ["mag_bert", "mag_xlnet"])
def test_recipe_of_mag_on_the_demo_corpus(system):
    config = config_module.load(f"configs/demo.py:{system}", [])
    fields = (*Spec.fields, "text_ids", "text_type")
    spec = Spec((1, 12, 16), (10, 40, 30), 600, fields=fields)
    encoder = {"mag_bert": toys.BERT, "mag_xlnet": toys.XLNET}[system]
    shapes = step.shapes(config_module.build(config, spec, encoder))
    (phase,) = config_module.phases(config)
    groups = assign(phase.optimizer, list(shapes.params))
    rates = {k.startswith("encoder/"): set() for k in groups}
    for path, i in groups.items():
        own = phase.optimizer.groups[i][1].get("learning_rate", 1e-3)
        rates[path.startswith("encoder/")].add(own)
    assert rates == {True: {1e-4}, False: {1e-3}}
    assert phase.optimizer.learning_rate == 1e-3


@pytest.mark.parametrize("system", ["text_only", "mag_bert", "mfon", "msg_mba"])
def test_recipe_of_mosis_audio(system):
    config = config_module.load(f"configs/mosi_audio.py:{system}", [])
    fields = (*Spec.fields, "text_ids", "text_type")
    spec = Spec((1, 73, 1), (50, 1, 1), 1284, fields=fields)
    encoder = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
    model = config_module.build(config, spec, encoder)
    shapes = step.shapes(model)
    phases = config_module.phases(config)
    for phase in phases:
        paths = [k for k in shapes.params if re.fullmatch(phase.train, k)]
        assert None not in assign(phase.optimizer, paths).values()
    assert (phases[-1].epochs, phases[-1].select) == (10, "mae")
