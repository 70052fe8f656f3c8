import argparse
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msajax import encoders, models, weights
from msajax.data import loader, read
from msajax.data.spec import MODALITIES, Spec
from msajax.encoders.bert import Bert
from msajax.run import recipe
from msajax.run.options import build
from msajax.train.plan import Phase
from tests import toys
from tools.bench import bench, data, mmsa_tables, ours, table, timing

ROOT = pathlib.Path(__file__).resolve().parents[3]
TINY = data.Shape("mosi", (6, 3, 4), (7, 9, 8))
# Importing the package itself fails: it needs a dead one.
MMSA = all(importlib.util.find_spec(name) for name in ("torch", "MMSA"))
# What a machine for GPUs does not have.
ABSENT = (
    *("tensorflow_datasets", "array_record", "librosa", "transformers", "sklearn"),
    *("orbax", "tensorboardX", "torch", "MMSA", "ml_collections"),
)
ALIGNED = data.Shape("mosi", (6, 3, 4), (7, 7, 7))

pytestmark = pytest.mark.usefixtures("quick_random")


def test_products_of_a_system_that_draws_partners_are_counted():
    spec = Spec((4, 4, 4), (3, 3, 3), 8)
    model = models.get("av_mc")(spec, post_dims=(4, 4, 4), fusion_dim=4)
    flops = [
        ours.step_flops(model, Phase(batch_size=rows), spec.example(8))
        for rows in (4, 8)
    ]
    assert flops[0] > 0 and flops[1] == 2 * flops[0]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(timing, "matmul_rate", lambda dtype: 1e9)
    # What the command sets does not outlive the test.
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@pytest.fixture
def tiny(monkeypatch, quick):
    monkeypatch.setattr(bench, "NUM_ROWS", 12)
    monkeypatch.setitem(bench.SHAPES, "mosi", TINY)
    return "--systems lmf --shapes mosi --batch 4 --rounds 1 --seconds 0.001".split()


def test_the_command_prints_and_writes_the_tables(tiny, tmp_path, capsys):
    path = tmp_path / "results.json"
    assert bench.main([*tiny, "--seeds", "2", "--json", str(path)]) == 0
    written = json.loads(path.read_text())
    (row,) = written["results"]
    assert (row["system"], row["batch"], row["form"]) == ("lmf", 4, "masked")
    assert row["evaluated_rows"] in (4, 8, 12)
    for speeds in row["samples_per_second"].values():
        assert set(speeds) == {"msajax", "seeds", "large_batch"}
    one, at_once = (row["samples_per_second"]["train"][n] for n in ("msajax", "seeds"))
    assert row["train_ratio"]["seeds"] == one / at_once
    assert all(0 <= share < 1 for share in row["wait_share"].values())
    assert written["machine"]["products"] == {"jax": "float32"}
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown[1:])) <= 132
    assert sum(line.startswith("lmf     mosi ") for line in shown) == 2


@pytest.mark.slow
def test_several_devices_are_timed_too(tiny, tmp_path):
    path = tmp_path / "results.json"
    assert bench.main([*tiny, "--devices", "2", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["results"]
    assert row["devices"] == 2
    speeds = row["samples_per_second"]["train"]
    assert row["train_ratio"]["devices"] == speeds["msajax"] / speeds["devices"]


def test_devices_that_share_a_batch_predict_as_one():
    one, two = (_ours("lmf", TINY, devices=count) for count in (1, 2))
    np.testing.assert_allclose(one.evaluate(3), two.evaluate(3), atol=1e-6)


WITH_ENCODER = {"text_only": toys.BERT, "mag_bert": toys.BERT}
WITH_ENCODER |= {"mag_xlnet": toys.XLNET, "msg_mba/msg_t": toys.BERT}


@pytest.fixture
def small_encoders(monkeypatch):
    kinds = {type(config): config for config in (toys.BERT, toys.XLNET)}
    monkeypatch.setitem(bench.ENCODERS, "base", kinds)


@pytest.mark.slow
@pytest.mark.parametrize(
    "system",
    ["text_only"]
    + [pytest.param(s, marks=pytest.mark.slow) for s in list(WITH_ENCODER)[1:]],
)
def test_systems_with_an_encoder_are_timed_with_random_weights(
    system, tiny, small_encoders, tmp_path
):
    path = tmp_path / "results.json"
    options = ["--systems", system, "--encoder", "base", "--json", str(path)]
    assert bench.main([*tiny, *options]) == 0
    (row,) = json.loads(path.read_text())["results"]
    assert (row["encoder"], row["form"]) == ("base", "masked")
    assert row["flops_per_step"] > 0


@pytest.mark.parametrize("system,config", WITH_ENCODER.items())
def test_steps_of_systems_with_an_encoder_are_counted(
    system, config, tiny, small_encoders, monkeypatch
):
    """Also that these are given their encoder and their row, and audio and vision aligned."""

    class Reached(Exception):
        pass

    def built(model, phase, parts, *_, **__):
        assert model.encoder == config and getattr(model, "align", True)
        assert ours.step_flops(model, phase, parts[0]) > 0
        raise Reached

    monkeypatch.setattr(bench, "Ours", built)
    with pytest.raises(Reached):
        bench.main([*tiny, "--systems", system, "--encoder", "base"])


@pytest.mark.slow
def test_the_command_times_less_padding_on_a_file(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "BUCKETS", (2,))
    rows, path, out = 12, tmp_path / "corpus.npz", tmp_path / "results.json"
    rng = np.random.default_rng(0)
    # Half of the rows have 2 steps, half have 6 of the file's 8.
    real = np.arange(8) < np.where(np.arange(rows) % 2, 2, 6)[:, None]
    data = {
        name: rng.normal(size=(rows, 8, 3)) * real[..., None] for name in MODALITIES
    }
    label = rng.uniform(-3, 3, rows)
    np.savez(path, id=np.arange(rows).astype(str), label=label, **data)
    command = "--systems ef_lstm,lmf --batch 4 --rounds 1 --dataset mosi".split()
    assert bench.main([*command, "--data", str(path), "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["results"]
    shares = {name: form["real_share"] for name, form in row["forms"].items()}
    assert shares == {
        "full": 1 / 2,
        "cut": 4 / 6,
        "2 buckets": 1.0,
    }
    assert row["forms"]["full"]["times"] == 1
    told = capsys.readouterr()
    assert "2 buckets   100" in told.out
    assert "ef_lstm: depends on the padded length" in told.err


def test_what_belongs_to_the_comparison_is_refused_with_a_file(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--data", "corpus.npz", "--padded"])
    assert "without --against, --padded" in capsys.readouterr().err


def test_an_example_is_a_file_to_train_on(tiny, tmp_path):
    path = tmp_path / "example.npz"
    assert bench.main([*tiny, "--example", str(path)]) == 0
    corpus = read.read(path, dataset="mosi")
    sizes = {name: len(split) for name, split in corpus.splits.items()}
    assert sizes == {"train": 12, "valid": 229, "test": 686}
    spec = loader.make_spec(corpus)
    assert (spec.dims, spec.lengths) == (TINY.dims, TINY.lengths)


def test_an_unknown_name_gets_the_nearest(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--systems", "tfm"])
    assert 'did you mean "tfn"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "command,message",
    [
        ("--systems mag_xlnet --shapes simsv2", "no recipe mag_xlnet:simsv2"),
        ("--systems text_only --data clips.npz", "reads word pieces"),
    ],
)
def test_what_cannot_be_measured_is_refused(command, message, capsys):
    with pytest.raises(SystemExit):
        bench.main(command.split())
    assert message in capsys.readouterr().err


def test_by_default_all_with_a_recipe_are_measured():
    args = argparse.Namespace(against=None, data=None)
    assert {"mag_bert", "text_only", "mult"} <= set(bench._systems("mosi", args))
    known = {"av_mc", "cormult", "ef_lstm", "iml_cmm", "lf_dnn", "lmf", "misa"}
    known |= {"mlf_dnn", "mlmf", "mtfn", "mult", "self_mm", "tfn"}
    found = {*bench._systems("simsv2", args)}
    assert known <= found and "mfon" not in found
    args.data = "clips.npz"
    assert "text_only" not in bench._systems("mosi", args)


@pytest.mark.slow
def test_runs_without_the_packages_for_data(tmp_path):
    """On a GPU machine that has jax, flax, optax and pydantic, as the script that it is."""
    path = tmp_path / "results.json"
    code = f"""
import runpy, sys
for name in {ABSENT}:
    sys.modules[name] = None
sys.path[:] = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
script = runpy.run_path({str(ROOT / "tools" / "bench" / "bench.py")!r})
import tools.bench.data
script["SHAPES"]["mosi"] = tools.bench.data.Shape(*{tuple(TINY)})
main = script["main"]
main.__globals__["NUM_ROWS"] = 12
import tools.bench.timing
tools.bench.timing.matmul_rate = lambda dtype: 1e9
options = "--systems lmf --shapes mosi --batch 4 --rounds 1 --seconds 0.001".split()
sys.exit(main([*options, "--json", {str(path)!r}]))
"""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": jax.config.values["jax_compilation_cache_dir"]
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | cache,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(path.read_text())["results"]) == 1


@pytest.mark.parametrize("resident", [True, False])
def test_training_steps_are_the_trainers_own(resident):
    """The loop that is timed updates as many times as asked."""
    ours = _ours("lmf", TINY, resident=resident)
    ours.train(5)  # more than the three steps of an epoch: two dispatches
    assert _updates(ours) == [5]


def test_seeds_at_once_update_each():
    ours = _ours("lmf", TINY, seeds=2)
    assert (ours.samples, ours.steps) == (8, 3)
    ours.train(4)
    assert _updates(ours) == [4, 4]


def test_the_share_of_waiting_is_of_the_same_dispatches(monkeypatch):
    """Both ways do the same steps; reading that takes its time is seen."""
    side = _ours("lmf", TINY, resident=False)
    made = []

    def alternate(sides, steps, rounds):
        for name, run in sides.items():
            before = _updates(side)[0]
            run(steps[name])
            made.append((name, _updates(side)[0] - before))
        return {"ready": 4.0, "read": 3.0}

    monkeypatch.setattr(ours, "alternate", alternate)
    assert side.wait_share(2, rounds=1) == 1 / 4
    assert made == [("ready", 2), ("read", 2)]


def test_evaluation_runs_whole_splits():
    ours = _ours("lmf", TINY)
    assert ours.shorten(7) == 6
    assert ours.evaluate(6).shape == (1, 24)


def test_a_long_split_is_cut_for_evaluation():
    ours = _ours("lmf", TINY)
    whole = ours.evaluate(3)
    assert ours.shorten(2) == 2
    assert ours.evaluated_rows == 8
    np.testing.assert_array_equal(ours.evaluate(2), whole[:, :8])


def test_precision_is_of_training_and_evaluation():
    ours = _ours("lmf", TINY, precision="bfloat16")
    whole, half = _ours("lmf", TINY).evaluate(3), ours.evaluate(3)
    assert 0 < np.abs(whole - half).max() < 0.02
    ours.train(1)
    assert {x.dtype for x in ours.state.params.values()} == {jnp.float32.dtype}


def test_flops_of_a_choice_are_the_largest():
    def program(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x)

    jaxpr = jax.make_jaxpr(program)(jnp.ones((2, 3)), jnp.ones((3, 3))).jaxpr
    assert timing.matmul_flops(jaxpr) == 2 * (2 * 3 * 3)


def test_flops_count_every_turn_of_a_scan():
    def program(x, w):
        h, _ = jax.lax.scan(lambda h, _: (h @ w, None), x, None, length=5)
        return h

    jaxpr = jax.make_jaxpr(program)(jnp.ones((2, 3)), jnp.ones((3, 3))).jaxpr
    assert timing.matmul_flops(jaxpr) == 5 * 2 * (2 * 3 * 3)


def test_flops_of_a_convolution():
    def program(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )

    jaxpr = jax.make_jaxpr(program)(jnp.ones((2, 9, 4)), jnp.ones((3, 4, 5))).jaxpr
    assert timing.matmul_flops(jaxpr) == 2 * (2 * 7 * 5) * (3 * 4)


def test_the_chosen_clock_times_the_sides(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(timing, "CLOCK", lambda: next(now) * 2.0)
    assert timing.alternate({"a": lambda n: None}, {"a": 6}, rounds=3) == {"a": 3.0}


def test_medians_leave_the_first_round_out():
    calls = []
    speeds = timing.alternate(
        {"a": lambda n: calls.append(("a", n)), "b": lambda n: calls.append(("b", n))},
        {"a": 2, "b": 3},
        rounds=2,
    )
    assert calls == [("a", 2), ("b", 3)] * 3
    assert set(speeds) == {"a", "b"}


# What mmsa's modules of the recurrent systems read of their configuration.
ARGUMENTS = {
    "mfn": "hidden_dims memsize windowsize NN1Config NN2Config gamma1Config gamma2Config "
    "outConfig",
    "graph_mfn": "hidden_dims memsize inner_node_dim NNConfig gamma1Config gamma2Config "
    "outConfig",
    "mfm": "hidden_dims zy_size zl_size za_size zv_size fy_size fl_size fa_size fv_size "
    "zy_to_fy_dropout zl_to_fl_dropout za_to_fa_dropout zv_to_fv_dropout fy_to_y_dropout "
    "lda_xl lda_xa lda_xv lda_mmd memsize windowsize NN1Config NN2Config gamma1Config "
    "gamma2Config outConfig",
    "mlmf": "hidden_dims rank dropouts post_dropouts post_text_dim post_audio_dim "
    "post_video_dim",
    "mmim": "d_vh d_vout n_layer bidirectional d_ah d_aout mmilb_mid_activation "
    "mmilb_last_activation add_va d_prjh cpc_layers cpc_activation dropout_prj alpha beta "
    "use_finetune transformers pretrained need_data_aligned",
}
for _name in ("mlf_dnn", "mtfn"):
    ARGUMENTS[_name] = ARGUMENTS["mlmf"].replace("rank", "text_out post_fusion_dim")


@pytest.mark.parametrize("system", ARGUMENTS)
def test_each_argument_of_mmsa_is_given(system):
    model, _ = _tiny_model(system)
    given = mmsa_tables.arguments(system, model)
    common = {"feature_dims", "train_mode", "use_bert"}
    assert set(given) == {*ARGUMENTS[system].split()} | common
    assert given["feature_dims"] == (6, 3, 4)


def test_arguments_of_mmsa_hold_our_values():
    mfm = mmsa_tables.arguments("mfm", _tiny_model("mfm")[0])
    assert [mfm[f"z{x}_size"] for x in "ylav"] == [80, 64, 80, 80]
    assert [mfm[f"lda_x{x}"] for x in "lav"] == [0.5, 0.01, 0.5]
    # What stays has a hidden layer of its own, as has what is written.
    assert mfm["NN2Config"] == {"shapes": 64, "drop": 0.0}
    assert mfm["gamma1Config"] == {"shapes": 32, "drop": 0.0}
    assert mfm["gamma2Config"] == {"shapes": 64, "drop": 0.5}
    mlf_dnn = mmsa_tables.arguments("mlf_dnn", _tiny_model("mlf_dnn")[0])
    assert [mlf_dnn[f"post_{m}_dim"] for m in ("text", "audio", "video")] == [32, 4, 64]
    assert mlf_dnn["dropouts"] == (0.2, 0.2, 0.0)
    assert mlf_dnn["post_dropouts"] == (0.3, 0.3, 0.3, 0.3)


def test_parameters_of_mmsa_are_trained_as_ours():
    def found(system, *names):
        phase = _tiny_model(system)[1].plan[-1]
        return [mmsa_tables.settings(name, phase) for name in names]

    names = (
        "text_subnet.rnn.weight",
        "video_subnet.norm.bias",
        "text_factor",
        "fusion_bias",
    )
    rates = [(x["learning_rate"], x["weight_decay"]) for x in found("mlmf", *names)]
    assert rates == [(5e-3, 0), (5e-3, 1e-5), (5e-4, 1e-3), (5e-3, 1e-3)]
    estimator, entropy, head = found(
        "mmim",
        "system.mi_tv.mlp_mu.0.weight",
        "system.mi_tv.entropy_prj.0.weight",
        "system.fusion_prj.linear_1.weight",
    )
    assert estimator is None and entropy == head
    assert head == {"learning_rate": 1e-3, "weight_decay": 1e-4}


@pytest.mark.skipif(not MMSA, reason="the extra bench (mmsa, torch) is not installed")
@pytest.mark.parametrize(
    ("system", "shape"),
    [
        ("mfn", ALIGNED),
        ("graph_mfn", ALIGNED),
        ("mfm", ALIGNED),
        ("mlf_dnn", TINY),
        ("mtfn", TINY),
        ("mlmf", TINY),
        ("tfn", TINY),
        ("lmf", TINY),
        ("lf_dnn", TINY),
        # The alignment of unaligned data in mmsa 2.2.1 averages every T-th step, and
        # that of its repository, which ours follows, neighbours.
        ("ef_lstm", ALIGNED),
        ("mult", TINY),
        ("mult", ALIGNED),
    ],
)
def test_mmsa_computes_what_ours_does(system, shape):
    """With its weights our padded form predicts the same: both sides do the same work."""
    import torch

    from tools.bench import mmsa_torch

    model, _ = _tiny_model(system, shape)
    spec = model.spec
    module = mmsa_torch.build(system, model).eval()
    arrays = spec.example(4)
    inputs = [torch.from_numpy(arrays[name]) for name in MODALITIES]
    if system in mmsa_torch.AVERAGED:
        inputs[1:] = [x.mean(dim=1, keepdim=True) for x in inputs[1:]]
    with torch.no_grad():
        theirs = module(*inputs)["M"][:, 0].numpy()
    state = {
        re.sub("^vertices", "graph_mfn.networks", name.removeprefix("system.")): (
            np.asarray(value)
        )
        for name, value in module.state_dict().items()
    }
    variables = weights.load(model, state)
    ours = model.apply(variables, arrays, train=False)["pred"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.skipif(not MMSA, reason="the extra bench (mmsa, torch) is not installed")
@pytest.mark.parametrize("system", ["mfm", "mlf_dnn", "mmim"])
def test_mmsa_trains_on_all_terms_of_the_loss(system):
    from tools.bench import mmsa_torch

    if system not in mmsa_torch.SYSTEMS:
        pytest.skip("needs the package transformers")
    shape = ALIGNED if system == "mfm" else TINY
    model, options = _tiny_model(system, shape)
    shape = shape._replace(dataset="simsv2" if system == "mlf_dnn" else "mosi")
    _, arrays, _ = data.example(system, shape, 48, None)
    side = mmsa_torch.Torch(
        mmsa_torch.build(system, model),
        arrays,
        np.arange(48).reshape(2, 24),
        options.plan[-1],
        compiled=False,
        averaged=system in mmsa_torch.AVERAGED,
    )
    side.train(3)
    pred, loss = side._step(side._rows[0])
    task = np.abs(pred[:, 0].detach().numpy() - arrays["label"][:24]).mean()
    assert np.isfinite(loss.item()) and abs(loss.item() - task) > 1e-3
    frozen = [n for n, p in side.module.named_parameters() if not p.requires_grad]
    assert all("mi_t" in name for name in frozen)
    assert bool(frozen) == (system == "mmim")


def test_a_system_that_is_not_compiled_has_no_ratio_to_it():
    def result(name, **speeds):
        of = {"msajax": 8.0, **speeds}
        keys = {"system": name, "shape": "mosi", "batch": 4, "form": "padded"}
        return {**keys, "samples_per_second": {"train": of}, "others_cores": 0.0}

    results = [result("mfn", eager=4.0), result("tfn", eager=1.0, compiled=2.0)]
    columns, lines = table._against(results, "train", "msajax")
    titles = [title for title, _ in columns]
    assert all(len(line) == len(titles) for line in lines)
    assert [line[-3:] for line in lines] == [
        ["2.00", "", "0.00"],
        ["8.00", "4.00", "0.00"],
        ["4.00", "4.00", ""],
    ]


@pytest.mark.skipif(not MMSA, reason="the extra bench (mmsa, torch) is not installed")
def test_transformers_computes_what_text_only_does(tmp_path):
    import torch

    from tools.bench import mmsa_torch

    spec, arrays, _ = bench.example("text_only", TINY, 4, "minilm")
    arrays["text_ids"] %= 2
    options = recipe.load("text_only:mosi")
    model = build(options, spec, toys.BERT)
    module = mmsa_torch.build("text_only", model).eval()
    names = ("text_ids", "text_mask", "text_type")
    with torch.no_grad():
        theirs = module(*(torch.from_numpy(arrays[name]) for name in names))["M"]
        head = {k: v.numpy() for k, v in module.head.state_dict().items()}
    module.encoder.save_pretrained(tmp_path)
    made = model.init(jax.random.key(0), arrays, train=False)["params"]
    loaded = encoders.load(tmp_path, Bert(toys.BERT, pooler=False), made["encoder"])
    weights = {"kernel": head["weight"].T, "bias": head["bias"]}
    params = {"encoder": loaded[0], "head": weights}
    ours = model.apply({"params": params}, arrays, train=False)["pred"]
    np.testing.assert_allclose(ours, theirs.numpy()[:, 0], atol=1e-5)
    (phase,) = options.plan
    groups = mmsa_torch._adamw(module, phase).param_groups
    found = {(g["lr"], g["weight_decay"]): len(g["params"]) for g in groups}
    assert found[1e-3, 0.01] == found[1e-3, 0] == 1  # the head's
    assert found[5e-5, 0.01] == 3 + 2 * 6  # the embeddings', six kernels a layer


@pytest.mark.skipif(not MMSA, reason="the extra bench (mmsa, torch) is not installed")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_mmsa_trains_with_updates_after_so_many_batches(precision):
    from tools.bench import mmsa_torch

    changes = {"train.batch_size": 4, "train.accumulate": 2}
    options, spec = _recipe("tfn", TINY, **changes)
    (phase,) = options.plan
    side = mmsa_torch.Torch(
        mmsa_torch.build("tfn", build(options, spec)),
        spec.example(12),
        np.arange(12).reshape(3, 4),
        phase,
        compiled=False,
        averaged=True,
        precision=precision,
    )  # has done a step
    before = [p.detach().clone() for p in side.module.parameters()]
    moved = []
    for steps in (1, 1, 3):
        side.train(steps)
        now = [p.detach().clone() for p in side.module.parameters()]
        pairs = zip(before, now, strict=True)
        moved.append(any((a != b).any().item() for a, b in pairs))
        before = now
    assert moved == [True, False, True]
    assert side.evaluate(3).shape == (12,)


def _recipe(system, shape, **changes):
    changes |= {f"model.{k}": v for k, v in bench.mmsa_form(system).items()}
    options = recipe.change(recipe.load(f"{system}:mosi"), changes)
    return options, Spec(shape.dims, shape.lengths, 12)


def _tiny_model(system, shape=TINY):
    """A system as it is compared with mmsa's, and its options."""
    dataset = "simsv2" if system in ("mlf_dnn", "mtfn", "mlmf") else "mosi"
    changes = {f"model.{k}": v for k, v in bench.mmsa_form(system).items()}
    if system == "mtfn":
        changes["model.output_range"] = (-3.0, 3.0)
    options = recipe.change(recipe.load(f"{system}:{dataset}"), changes)
    shape = shape._replace(dataset=dataset)
    spec, _, _ = data.example(system, shape, 12, None)
    return build(options, spec), options


def _ours(system, shape, **given):
    options, spec = _recipe(system, shape, **{"train.batch_size": 4})
    arrays = spec.example(12)
    del arrays["index"], arrays["valid"]
    (phase,) = options.plan
    parts = loader.parts(arrays, 1, cut=False)
    return ours.Ours(build(options, spec), phase, parts, "mosi", **given)


def _updates(ours):
    """How often each seed's parameters were updated."""
    found = optax.tree_utils.tree_get_all_with_path(ours.state.opt_state, "count")
    (counts,) = {tuple(count.tolist()) for _, count in found}
    return list(counts)
