"""Options: every check, with the nearest right name; they are never changed once made."""

import dataclasses
from typing import Any

import pytest

from msajax import models
from msajax.run import recipe, saved
from msajax.run.options import DataOptions, Options, TextOptions, TrainOptions
from msajax.train.optim import Optimizer
from msajax.train.plan import Phase, Training

DEMO = "lf_dnn:demo"


@pytest.mark.parametrize(
    "key,text,message",
    [
        ("train.batchsize", "1", 'unknown key "batchsize" in config.train; did you mean "batch_size"?'),
        ("trian.epochs", "1", 'unknown key "trian" in config; did you mean "train"?'),
        ("epochs", "1", 'unknown key "epochs" in config; did you mean "train.epochs"?'),
        ("train.epochs.x", "1", 'unknown key "x" in config.train.epochs'),
        ("model.text_outt", "1", 'unknown key "text_outt" in config.model; did you mean "text_out"?'),
        ("model.spec", "1", 'unknown key "spec" in config.model. Known: audio_dropout'),
        ("model.encoder", "1", 'unknown key "encoder" in config.model. Known: audio_dropout'),
        ("optimizer.clip", "1", 'unknown key "clip" in config.optimizer; did you mean "clip_norm"?'),
        ("train", "1", "config.train is a group. Known: accumulate, batch_size"),
        ("model", "1", "config.model is a group. Known: audio_dropout"),
        ("system", "tnf", 'unknown system "tnf"; did you mean "tfn"?'),
        ("precision", "float16", "config.precision is 'float16', but must be one of float32, tf32, bfloat16, auto"),
        ("deterministic", "1", "config.deterministic is 1, but must be True or False"),
        ("cycles", "0", "config.cycles is 0, but must be above 0"),
        ("epochs_scale", "0", "config.epochs_scale is 0, but must be above 0"),
        ("epochs_scale", "1e999", "config.epochs_scale is inf, but must be a number, and finite"),
        ("init_parameters", "(", "config.init_parameters is '(', which is no regex"),
        ("data.dataset", "mosy", 'unknown dataset "mosy"; did you mean "mosi"?'),
        ("data.dims", "1,x,2", "config.data.dims is (1, 'x', 2), but must be a list of whole numbers"),
        ("data.dims", "0,1,2", "config.data.dims is (0, 1, 2), but each must be above 0"),
        ("data.dims", "1,2", "config.data.dims is (1, 2); give three numbers (text, audio, vision), or ()"),
        ("data.lengths", "50,", "config.data.lengths is (50,); give three numbers"),
        ("data.modalities", "text,smell", "config.data.modalities is ('text', 'smell'); give some of text, audio, vision"),
        ("data.modalities", "()", "config.data.modalities is (); give some of"),
        ("data.truncate", "yes", "config.data.truncate is 'yes', but must be True or False"),
        ("data.buckets", "0", "config.data.buckets is 0, but must be above 0"),
        ("data.on_device", "maybe", "config.data.on_device is 'maybe', but must be one of auto, always, never"),
        ("data.weak", "2", "config.data.weak is 2, but must be at most 1"),
        ("data.seed", "-1", "config.data.seed is -1, but must be at least 0"),
        ("data.split", "0.5,0.5", "config.data.split is (0.5, 0.5); give the shares of train, valid and test"),
        ("data.fraction", "0", "config.data.fraction is 0.0; give a share of the training rows"),
        ("text.max_length", "0", "config.text.max_length is 0, but must be above 0"),
        ("text.max_length", f"1{30 * '0'}", "but must be below 2147483648"),
        ("text.frozen", "True", "config.text.frozen is set, but config.text.encoder names no encoder"),
        ("text.raw", "True", "config.text.raw is set, but config.text.encoder names no encoder"),
        ("text.reinit_layers", "1", "config.text.reinit_layers is set, but config.text.encoder names no encoder"),
        ("optimizer.layer_decay", "0.9", "config.optimizer.layer_decay is 0.9, but no encoder of text is trained; name one"),
        ("phases", "({'optimizer': {'layer_decay': 0.9}},)", "config.phases[0].optimizer.layer_decay is 0.9, but no encoder of text is trained; name one"),
        ("optimizer.layer_decay", "0.0", "config.optimizer.layer_decay is 0.0, but must be above 0"),
        ("train.ema", "1.0", "config.train.ema is 1.0, but must be below 1"),
        ("text.prefix", "x", "config.text.prefix is set, but config.text.encoder names no encoder"),
        ("text.context", "1", "config.text.context is set, but config.text.encoder names no encoder"),
        ("text.context", "-1", "config.text.context is -1, but must be at least 0"),
        ("text.context_behind", "-1", "config.text.context_behind is -1, but must be at least 0"),
        ("text.context_mark", "yes", "config.text.context_mark is 'yes', but must be one of auto, always, never"),
        ("text.words", "True", "config.text.words is set, but config.text.encoder names no encoder"),
        ("text.encoder", "x", "lf_dnn takes text features and trains no encoder; set config.text.frozen=True"),
        ("text.vocabulary", "True", "config.text.vocabulary is set, but lf_dnn learns no embedding of words"),
        ("train.epochs", "many", "config.train.epochs is 'many', but must be a whole number"),
        ("train.epochs", "1.5", "config.train.epochs is 1.5, but must be a whole number"),
        ("train.epochs", "0", "config.train.epochs is 0, but must be above 0"),
        ("train.batch_size", "None", "config.train.batch_size is None, but must be a whole number"),
        ("train.accumulate", "0", "config.train.accumulate is 0, but must be above 0"),
        ("train.patience", "-1", "config.train.patience is -1, but must be at least 0"),
        ("train.seeds", "()", "config.train.seeds is (); give at least one seed"),
        ("train.seeds", "1,1", "config.train.seeds is (1, 1); give at least one seed, each a different whole number"),
        ("train.seeds", "-1", "config.train.seeds is (-1,), but each must be at least 0"),
        ("train.seeds", "4294967296", "config.train.seeds is (4294967296,), but each must be at most 4294967295"),
        ("train.seeds", "1,,2", "config.train.seeds is (1, '', 2), but must be a list of whole numbers"),
        ("train.seeds", ",1", "config.train.seeds is ('', 1), but must be a list of whole numbers"),
        ("data.modalities", "text,,audio", "config.data.modalities is ('text', '', 'audio')"),
        ("train.seeds", "True", "config.train.seeds is (True,), but must be a list of whole numbers"),
        ("train.seeds_at_once", "0", "config.train.seeds_at_once is 0, but must be above 0"),
        ("train.seeds_at_once", "all", "config.train.seeds_at_once is 'all', but must be a whole number or auto"),
        ("parallel.devices", "-1", "config.parallel.devices is -1, but must be at least 0"),
        ("checkpoint.seconds", "-1", "config.checkpoint.seconds is -1, but must be at least 0"),
        ("checkpoint.seconds", "1e999", "config.checkpoint.seconds is inf, but must be a number, and finite"),
        ("seed", "3", 'unknown key "seed" in config; did you mean "train.seeds" or "data.seed"? Known: audio, checkpoint'),
        ("optimizer.name", "adm", "config.optimizer.name is 'adm', but must be one of adam, amsgrad, adamw, rmsprop, sgd"),
        ("optimizer.schedule", "constnt", "config.optimizer.schedule is 'constnt', but must be one of constant, warmup_linear"),
        ("optimizer.learning_rate", "-1.0", "config.optimizer.learning_rate is -1.0, but must be at least 0"),
        ("optimizer.b2", "1.0", "config.optimizer.b2 is 1.0, but must be below 1"),
        ("optimizer.warmup", "1.5", "config.optimizer.warmup is 1.5, but must be below 1"),
        ("optimizer.warmup", "0.1", 'config.optimizer.warmup is 0.1, but the schedule "constant" has none'),
        ("optimizer.plateau_patience", "-1", "config.optimizer.plateau_patience is -1, but must be at least 0"),
        ("optimizer.groups", "(('.*', {'weight_decay': -1.0}),)", "but each must be at least 0"),
        ("optimizer.groups", "(('.*', {'b1': 0.1}),)", "config.optimizer.groups: \".*\" sets ['b1']; a group may set learning_rate and weight_decay"),
        ("optimizer.groups", "(('(', None),)", "the regex of a group of config.optimizer.groups is '(', which is no regex"),
        ("optimizer.learning_rate", "1e999", "config.optimizer.learning_rate is inf, but must be a number, and finite"),
        ("optimizer.groups", "3", "config.optimizer.groups is (3,), but must be a list of pairs (text, a dict or None)"),
        ("model.hidden_dims", "1,2", "config.model.hidden_dims is (1, 2); give 3 values: (128, 16, 128)"),
        ("model.hidden_dims", "1.5,2,3", "config.model.hidden_dims is (1.5, 2, 3), but must be a list of 3 whole numbers"),
        ("model.hidden_dims", "0,2,3", "config.model.hidden_dims is (0, 2, 3); give 1 to 65536"),
        ("model.text_out", "100000", "config.model.text_out is 100000; give 0 to 65536"),
        ("model.audio_dropout", "1.5", "config.model.audio_dropout is 1.5; a dropout rate is at least 0, below 1"),
        ("model.class_weights", "None,", "config.model.class_weights is (None,), but must be a list of numbers"),
        ("model.criterion", "mes", 'unknown criterion "mes"; did you mean "mse"?'),
        ("phases", "3", "config.phases is (3,), but must be a list of dicts"),
        ("phases", "({'epoch': 1},)", 'unknown key "epoch" in config.phases[0]; did you mean "epochs"?'),
        ("phases", "({'learning_rate': 1},)", 'unknown key "learning_rate" in config.phases[0]; did you mean "optimizer.learning_rate"?'),
        ("phases", "({}, {'name': 'b', 'epochs': '1'})", "config.phases[1].epochs is '1', but must be a whole number"),
        ("phases", "({'epochs': 0},)", "config.phases[0].epochs is 0, but must be above 0"),
        ("phases", "({}, {'name': 'b', 'patience': -3})", "config.phases[1].patience is -3, but must be at least 0"),
        ("phases", "({'optimizer': {'warmup': 0.1}},)", "config.phases[0].optimizer.warmup is 0.1, but the schedule"),
        ("phases", "[dict(name='a')]", "config.phases is [dict(name='a')], which is no Python literal; write a dict as {'name': 'main'"),
        ("train.seeds", "(1, x)", "config.train.seeds is (1, x), which is no Python literal"),
        ("phases", "({}, {})", "config.phases has a name twice: main, main"),
        ("phases", "({'train': '('},)", "config.phases[0].train is '(', which is no regex"),
        ("phases", "({'optimizer': 3},)", "config.phases[0].optimizer is 3, but must be a dict"),
        ("phases", "({'optimizer': {'lr': 1}},)", 'unknown key "lr" in config.phases[0].optimizer. Known: b1'),
    ],
)  # fmt: skip
def test_wrong_values_say_what_is_right(key, text, message):
    with pytest.raises(ValueError) as error:
        recipe.load(DEMO, [(key, text)])
    assert message in str(error.value)


@pytest.mark.parametrize(
    "made,message",
    [
        (lambda: TextOptions(vocabulary=True, encoder="x"), "vocabulary and config.text.encoder are both set"),
        (lambda: TrainOptions(seeds=(2, 2)), "config.train.seeds is (2, 2); give at least one seed"),
        (lambda: TrainOptions(batch_size="x"), "config.train.batch_size is 'x', but must be a whole number"),  # pyright: ignore
        (lambda: TextOptions(encoder="x", context_speaker=True), "context_speaker is set, but no utterances are joined"),
        (lambda: TextOptions(encoder="x", context=30, context_behind=20), "context_behind join 50 utterances to each one, but config.text.max_length leaves 50 word pieces"),
        (lambda: TextOptions(max_length=0), "config.text.max_length is 0, but must be above 0"),
        (lambda: Phase(patience=-3), "config.phases.patience is -3, but must be at least 0"),
        (lambda: Optimizer(b1=1.0), "config.optimizer.b1 is 1.0, but must be below 1"),
        (lambda: Options(system="lf_dnn", train={}), "config.train is {}; give TrainOptions(...)"),  # pyright: ignore
        (lambda: Options(system="lf_dnn", phases=(3,)), "config.phases is (3,), but must be a list of dicts"),  # pyright: ignore
        (lambda: DataOptions(dataset="mosy"), 'did you mean "mosi"?'),
        (lambda: Options(system="text_only", model={"r_drop": -1.0}), "config.model.r_drop is -1.0, but must be at least 0"),
        (lambda: Options(system="lf_dnn", model={"dim": 1}), 'unknown key "dim" in config.model'),
        (
            lambda: Options(
                system="text_only",
                data=DataOptions(modalities=("audio",)),
                text=TextOptions(encoder="x"),
            ),
            'config.text.encoder is set, but config.data.modalities lacks "text"',
        ),
        (
            lambda: Options(
                system="text_only",
                data=DataOptions(modalities=("audio",)),
                text=TextOptions(vocabulary=True),
            ),
            'config.text.vocabulary is set, but config.data.modalities lacks "text"',
        ),
    ],
)  # fmt: skip
def test_options_check_themselves_however_they_are_made(made, message):
    with pytest.raises(ValueError) as error:
        made()
    assert message in str(error.value)


@pytest.mark.parametrize("system", models.names())
def test_the_defaults_of_a_system_are_options(system):
    """A default that its own type or bounds refuse could not be named in a recipe."""
    from msajax.run import model_options

    defaults = {k: default for k, (_, default) in model_options.fields(system).items()}
    assert Options(system=system, model=defaults).model == defaults


def test_nothing_changes_options_after_they_are_made():
    options = recipe.load(DEMO)
    before = saved.to_json(options)
    for section, key in (("", "system"), ("train", "epochs"), ("optimizer", "b1")):
        node = getattr(options, section) if section else options
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(node, key, 3)
    changes = {"train.epochs": 3, "model.text_out": 5, "phases": ({"name": "a"},)}
    changed = recipe.change(options, changes)
    assert (changed.train.epochs, changed.model["text_out"]) == (3, 5)
    assert [phase.name for phase in changed.plan] == ["a"]
    assert saved.to_json(options) == before
    assert [phase.name for phase in options.plan] == ["main"]


def test_dicts_in_options_are_read_only():
    groups = ((".*", {"learning_rate": 0.1}),)
    phases = ({"name": "a", "optimizer": {"groups": groups}},)
    options = Options(system="lf_dnn", model={"text_out": 5}, phases=phases)
    before = saved.sha256(options)
    rule: Any = options.phases[0]["optimizer"]
    found: list[Any] = [options.model, options.phases[0], rule, rule["groups"][0][1]]
    for mapping in (*found, options.plan[0].optimizer.groups[0][1]):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["x"] = 7
    assert saved.sha256(options) == before
    assert saved.from_json(saved.to_json(options)) == options


def test_lists_become_tuples_however_options_are_made():
    made: Any = TrainOptions
    assert made(seeds=[1, 2]).seeds == (1, 2)
    assert isinstance(Optimizer(learning_rate=1).learning_rate, float)


def test_settings_of_phases_are_declared_once():
    shared = {field.name for field in dataclasses.fields(Training)}
    for kind in (TrainOptions, Phase):
        assert issubclass(kind, Training)
        assert not shared & {*kind.__dict__.get("__annotations__", {})}


def test_options_share_nothing_with_what_they_are_made_of():
    model, rule = {"text_out": 5}, {"learning_rate": 0.1}
    phases = [{"name": "a", "optimizer": rule}]
    options = Options(system="lf_dnn", model=model, phases=tuple(phases))
    before = saved.to_json(options)
    model["text_out"], rule["learning_rate"] = 7, 0.2
    phases[0]["name"] = "b"
    assert saved.to_json(options) == before
    assert (
        options.plan[0].name == "a" and options.plan[0].optimizer.learning_rate == 0.1
    )


def test_phases_inherit_from_train_and_optimizer():
    phases = (dict(name="a", epochs=2), dict(name="b", optimizer=dict(name="sgd")))
    changes = {"train.epochs": 7, "optimizer.learning_rate": 0.5, "phases": phases}
    a, b = recipe.change(recipe.load(DEMO), changes).plan
    assert (a.epochs, b.epochs) == (2, 7)
    assert a.optimizer == Optimizer(learning_rate=0.5)
    assert b.optimizer == Optimizer(name="sgd", learning_rate=0.5)


def test_all_phases_are_shortened_at_once():
    pairs = [("epochs_scale", "0.1"), ("train.epochs", "4")]
    short, whole = recipe.load("cormult:demo", pairs), recipe.load("cormult:demo")
    # 100 epochs of the evaluator's own, and 4 of config.train.
    assert {phase.name: phase.epochs for phase in short.plan} == {"mce": 10, "fuse": 1}
    assert [phase.epochs for phase in whole.plan] == [100, 30]
    changed, _ = saved.differences(short, whole)
    assert changed == "epochs_scale: 1.0 -> 0.1"


def test_options_that_change_nothing_are_told():
    keys = ("train.epochs", "train.patience", "train.seeds", "optimizer.groups")
    keys += ("optimizer.learning_rate", "optimizer.b1", "model.dim")

    def told(name, *also):
        found = recipe.load(name).without_effect([*keys, *also])
        return [line.partition(" ")[0].removeprefix("config.") for line in found]

    assert told("tfn:demo") == told("text_only:mosi", "optimizer.encoder_rate") == []
    assert told("cormult:mosi") == ["train.epochs", "optimizer.learning_rate"]
    # Two phases have a rate, the third has one in all of its groups.
    assert told("mfon:mosi") == ["optimizer.learning_rate"]
    assert told("lf_dnn:demo", "optimizer.encoder_rate") == ["optimizer.encoder_rate"]
    frozen = recipe.load("text_only:mosi", [("text.frozen", "True")])
    (line,) = frozen.without_effect(["optimizer.encoder_rate"])
    assert line.endswith("has no effect: no encoder is trained")
    adapters = recipe.load("text_only:mosi", [("optimizer.lora_rank", "8")])
    (line,) = adapters.without_effect(["optimizer.encoder_rate"])
    assert line.endswith("of their adapters is config.optimizer.lora_rate")
    (line,) = recipe.load("mmml:mosi/no_context").without_effect(["text.context_mark"])
    assert line == "config.text.context_mark has no effect: no utterances are joined"
    assert told("mmml:mosi", "text.context_mark") == []
    (line,) = recipe.load("cormult:mosi").without_effect(["train.epochs"])
    assert line.endswith("own; config.epochs_scale changes those of all phases")
