"""Recipes: overrides, wrong keys and types, what makes a run another run."""

import json

import pytest

from msajax import config as configs
from msajax.optim import Optimizer

DEMO = "configs/demo.py:lf_dnn"


def load(**overrides):
    pairs = [(key.replace("__", "."), text) for key, text in overrides.items()]
    return configs.load(DEMO, pairs)


def test_overrides_take_the_type_of_the_default():
    config = load(
        train__seeds="4,5",
        train__batch_size="16",
        optimizer__learning_rate="1",
        model__text_out="9",
        data__path="some/file=odd.pkl",
        deterministic="False",
    )
    assert config.train.seeds == (4, 5) and config.train.batch_size == 16
    assert config.optimizer.learning_rate == 1.0
    assert isinstance(config.optimizer.learning_rate, float)
    assert config.model.text_out == 9 and config.data.path == "some/file=odd.pkl"
    assert config.deterministic is False
    assert load(train__seeds="7").train.seeds == (7,)


@pytest.mark.parametrize(
    "key,text,message",
    [
        ("train.batchsize", "1", 'unknown key "batchsize" in config.train; did you mean "batch_size"'),
        ("trian.epochs", "1", 'unknown key "trian" in config; did you mean "train"'),
        ("train.epochs.x", "1", 'unknown key "x" in config.train.epochs'),
        ("model.text_outt", "1", 'unknown key "text_outt" in config.model; did you mean "text_out"'),
        ("model.spec", "1", 'unknown key "spec" in config.model'),
        ("model.hidden_dims", "1,2", r"config.model.hidden_dims is \(1, 2\); give 3 values"),
        ("model.hidden_dims", "1.5,2,3", "config.model.hidden_dims is 1.5 .float., but must be of type int"),
        ("model.class_weights", "None,", "config.model.class_weights is None"),
        ("train", "1", "config.train is a group"),
        ("train.epochs", "many", "config.train.epochs is 'many' .str., but must be of type int"),
        ("train.epochs", "1.5", "config.train.epochs is 1.5 .float., but must be of type int"),
        ("train.seeds", "()", r"config.train.seeds is \(\); give at least one seed"),
        ("train.seeds", "1,1", "each a different whole number"),
        ("train.seeds", "-1", "each a different whole number from 0"),
        ("train.seeds", "4294967296", "whole number from 0 to 4294967295"),
        ("data.dataset", "mosy", 'unknown dataset "mosy"; did you mean "mosi"'),
        ("system", "tnf", 'unknown system "tnf"; did you mean "tfn"'),
        ("optimizer.name", "adm", 'unknown optimizer name "adm"'),
        ("train.epochs", "0", "epochs is 0, but must be at least 1"),
        ("epochs_scale", "0", "config.epochs_scale is 0.0; give a number above 0"),
    ],
)  # fmt: skip
def test_wrong_values_say_what_is_right(key, text, message):
    with pytest.raises(ValueError, match=message):
        configs.load(DEMO, [(key, text)])


@pytest.mark.parametrize(
    "texts,gates",
    [
        (["()"], ()),
        (["('text','vision')"], ("text", "vision")),
        (["()", "text"], ("text",)),
    ],
)
def test_tuples_of_any_length(texts, gates):
    pairs = [("model.gates", text) for text in texts]
    assert configs.load("configs/msg_mba_mosi.py", pairs).model.gates == gates


@pytest.mark.parametrize(
    "text,message",
    [
        ("config.train.update(epochz=3)", "epochz"),
        ("config.trian.epochs = 3", "trian"),
        ("config.model.update(widht=3)", 'unknown key "widht" in config.model'),
        ("config.model.update(text_out='wide')", "config.model.text_out is 'wide'"),
        ("config.phases = (dict(name='a', epoch=1),)", 'unknown phase key "epoch"; did you mean "epochs"'),
        ("config.phases = (dict(epochs='1'),)", "phase key epochs is '1'"),
        ("config.phases = (dict(), dict())", "config.phases has a name twice: main, main"),
        ("config.phases = (dict(optimizer=dict(lr=1)),)", 'unknown optimizer key "lr"'),
    ],
)  # fmt: skip
def test_wrong_recipes_are_errors(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(
        "from configs import common\n\ndef get_config():\n"
        f"    config = common.get_config('lf_dnn', 'demo')\n    {text}\n    return config\n"
    )
    with pytest.raises(ValueError, match=message):
        configs.load(str(path))


def test_a_missing_file_names_the_nearest():
    with pytest.raises(
        ValueError, match="no config file configs/tfn_mosy.py; did you mean"
    ):
        configs.load("configs/tfn_mosy.py")


@pytest.mark.parametrize("recipe", ["demo", "poria"])
def test_a_recipe_of_no_system_names_the_nearest(recipe):
    with pytest.raises(ValueError, match='unknown system "tnf"; did you mean "tfn"'):
        configs.load(f"configs/{recipe}.py:tnf")


def test_phases_inherit_from_train_and_optimizer():
    config = load(train__epochs="7", optimizer__learning_rate="0.5")
    config.phases = (
        dict(name="a", epochs=2),
        dict(name="b", optimizer=dict(name="sgd")),
    )
    a, b = configs.phases(config)
    assert (a.epochs, b.epochs) == (2, 7)
    assert a.optimizer == Optimizer(learning_rate=0.5)
    assert b.optimizer == Optimizer(name="sgd", learning_rate=0.5)


def test_json_round_trip():
    config = load(train__seeds="4,5")
    config.phases = (dict(name="a", optimizer=dict(groups=((".*", None),))),)
    again = configs.from_json(configs.to_json(config))
    assert configs.differences(again, config) == []
    assert configs.phases(again) == configs.phases(config)
    assert configs.sha256(again) == configs.sha256(config)


def test_texts_of_before_a_key_was_there_mean_what_they_meant():
    config = load()
    values = json.loads(configs.to_json(config))
    del values["init_from"], values["init_parameters"], values["data"]["weak"]
    del values["data"]["encoding"]
    del values["data"]["split"], values["data"]["fraction"]
    del values["text"]["vocabulary"]
    assert configs.differences(configs.from_json(json.dumps(values)), config) == []


def test_what_makes_another_run():
    config = load()
    free = load(train__seeds="9", data__path="moved.pkl", parallel__devices="1")
    assert configs.differences(free, config) == []
    assert configs.sha256(free) == configs.sha256(config)
    other = load(train__batch_size="7", model__text_out="5")
    changed = configs.differences(other, config)
    assert "train.batch_size: 32 -> 7" in changed and len(changed) == 2
    assert configs.sha256(other) != configs.sha256(config)
    changed = configs.differences(load(data__encoding="gbk"), config)
    assert changed == ["data.encoding: '' -> 'gbk'"]


def test_all_phases_are_shortened_at_once():
    pairs = [("epochs_scale", "0.1"), ("train.epochs", "4")]
    phases = configs.phases(configs.load("configs/demo.py:cormult", pairs))
    # 100 epochs of the evaluator's own, and 4 of config.train.
    assert {phase.name: phase.epochs for phase in phases} == {"mce": 10, "fuse": 1}
    whole = configs.load("configs/demo.py:cormult")
    assert [phase.epochs for phase in configs.phases(whole)] == [100, 30]
    (changed, _) = configs.differences(
        configs.load("configs/demo.py:cormult", pairs), whole
    )
    assert changed == "epochs_scale: 1.0 -> 0.1"


def test_configs_of_older_runs_have_the_newer_keys():
    values = json.loads(configs.to_json(load()))
    del values["epochs_scale"], values["data"]["unlabelled"]
    assert not configs.differences(configs.from_json(json.dumps(values)), load())


def test_another_spelling_of_a_folder_is_no_other_run(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    first = load(init_from=str(tmp_path / "a"))
    for same in ("a/", "b/../a", "link"):
        assert not configs.differences(load(init_from=f"{tmp_path}/{same}"), first)
    for other in (f"{tmp_path}/b", f"{tmp_path}/none", ""):
        (changed,) = configs.differences(load(init_from=other), first)
        assert changed.startswith("init_from")


def test_which_file_is_trained_on_is_no_other_run():
    """Its content is: see `workdir.claim`."""
    phases = {
        rows: f"({{'data': '{rows}'}},)" for rows in ("train", "x.pkl", "./x.pkl")
    }
    first = load(data__unlabelled="x.pkl", phases=phases["x.pkl"])
    for unlabelled in ("./x.pkl", "moved/x.pkl"):
        same = load(data__unlabelled=unlabelled, phases=phases["./x.pkl"])
        assert not configs.differences(same, first)
    (changed,) = configs.differences(load(phases=phases["x.pkl"]), first)
    assert changed == "data.unlabelled: 'a file' -> ''"
    other = load(data__unlabelled="train_mix", phases=phases["train"])
    rows, phase = configs.differences(other, first)
    assert rows == "data.unlabelled: 'a file' -> 'train_mix'"
    assert phase.startswith("phases: ") and "'a file'" in phase
