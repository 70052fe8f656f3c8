import csv
import json
import signal

import pytest

from msajax.report.results import Results
from msajax.run import output, recipe, saved, workdir
from tools import reproduce, table

HERE = {"mae": {"mean": 0.5, "std": 0.1, "values": [0.4, 0.6]}}


def record(entry, home, seeds=None):
    """Files of a run as training leaves them."""
    facts = {
        "seconds": [1.0],
        "config_sha256": saved.sha256(entry.options),
        "data_sha256": "",
    }
    seeds = tuple(seeds or entry.options.train.seeds)
    splits = {"valid": HERE, "test": HERE}
    folder = entry.folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    workdir.write(folder / "config.json", saved.to_json(entry.options))
    made = Results(
        entry.options.system, entry.options.data.dataset, seeds, splits, facts
    )
    output.write_results(folder, made)


@pytest.fixture
def trained(monkeypatch):
    """Recipes that would be trained; results are recorded in their place."""
    names, statuses = [], {}

    def train(entry, home):
        names.append(entry.recipe)
        status = statuses.get(entry.recipe, 0)
        if not status:
            record(entry, home)
        return status

    monkeypatch.setattr(table, "train", train)
    monkeypatch.setattr(reproduce, "_encoder_problem", lambda *_: "")
    return names, statuses


def run(folder, *arguments):
    return reproduce.main(["--workdir", str(folder), "--corpus", "demo", *arguments])


def sheet(folder, name):
    with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_on_the_demo_corpus(tmp_path, trained):
    names, _ = trained
    assert run(tmp_path, "--paper", "mfon", "--table", "2") == 0
    systems = ["tfn", "lmf", "mult", "misa", "self_mm", "mmim", "fdmer", "amml"]
    systems += ["conki", "hydiscgan", "mfon"]
    # Once, though MOSI and MOSEI both have the row.
    assert names == [f"{s}:demo" for s in systems]
    rows = sheet(tmp_path, "mfon_table2_demo")
    (mine,) = (
        r
        for r in rows
        if (r["system"], r["dataset"], r["metric"]) == ("mfon", "mosi", "mae")
    )
    assert float(mine["difference"]) == pytest.approx(0.5 - 0.725)
    assert mine["recipe"] == "mfon:demo" and mine["seeds"] == "1 2 3"
    text = (tmp_path / "mfon_table2_demo.md").read_text("utf-8")
    assert "0.500 ± 0.100 / 0.725 (-0.225)" in text
    assert "<table>" in (tmp_path / "mfon_table2_demo.html").read_text("utf-8")


def test_the_same_run_of_tables_and_papers_is_run_once(tmp_path, trained):
    names, _ = trained
    assert run(tmp_path, "--paper", "cormult", "--table", "2") == 0
    assert run(tmp_path, "--paper", "cormult", "--table", "3") == 0
    # Strategy D and the cosine are the defaults: one run, of the recipe itself.
    rows = [name.partition("/")[2] for name in names]
    strategies = ["strategy_a", "strategy_b", "strategy_c", ""]
    assert rows == [*strategies, "euclidean", "manhattan", "chebyshev", "mahalanobis"]
    names.clear()
    # The demo corpus has one form of the features.
    assert run(tmp_path, "--paper", "cormult", "--table", "5") == 0 and names == []
    assert run(tmp_path, "--paper", "alr", "--table", "3") == 0
    assert run(tmp_path, "--paper", "cormult", "--table", "4") == 0
    assert names.count("mult:demo") == 1 and "cormult:demo" not in names
    text = (tmp_path / "cormult_table2_demo.md").read_text("utf-8")
    assert "cormult/average (mosei): a mean of other rows, not a run" in text


def test_losses_and_seconds_of_a_run_are_in_the_table(tmp_path, trained):
    assert run(tmp_path, "--paper", "iml_cmm", "--table", "5") == 0
    (folder,) = {
        job.entry.folder(tmp_path)
        for job in reproduce.jobs("iml_cmm", 5, "demo", {}, ())
        if job.entry and job.figures[0].setting == "mt"
    }
    for seed, loss in ((1, 0.25), (2, 0.5), (3, 0.75)):
        row = {"phase": "main", "train_loss": 9.0, "valid_loss": loss, "best": True}
        (folder / f"seed_{seed}").mkdir()
        (folder / f"seed_{seed}/log.jsonl").write_text(json.dumps(row) + "\n")
    run(tmp_path, "--paper", "iml_cmm", "--table", "5", "--dry-run")
    rows = sheet(tmp_path, "iml_cmm_table5_demo")
    (cell,) = (r for r in rows if (r["setting"], r["metric"]) == ("mt", "loss"))
    assert float(cell["mean"]) == 0.5 and cell["corpus"] == "demo"
    assert float(cell["difference"]) == pytest.approx(0.5 - 0.332)


def test_conversations_stand_on_the_generated_dialogues(tmp_path, trained):
    names, _ = trained
    assert run(tmp_path, "--paper", "alr", "--table", "4") == 0
    systems = ["tfn", "lmf", "mm_dfn", "mfm", "dialoguegcn", "cosmic", "alr"]
    assert sorted(names) == sorted(f"{name}:dialogue_demo" for name in systems)
    rows = sheet(tmp_path, "alr_table4_demo")
    assert {r["state"] for r in rows if r["system"] == "unimse"} == {
        "needs a recipe of dialogue_demo in configs/unimse.py"
    }


def test_a_stopped_command_resumes_and_a_failed_run_ends_nothing(
    tmp_path, trained, capsys
):
    names, statuses = trained
    statuses["alr:demo/concatenation"] = 1
    statuses["alr:demo/addition"] = -signal.SIGINT
    arguments = "--paper", "alr", "--table", "7"
    assert run(tmp_path, *arguments) == 130
    assert "rerun the command to resume" in capsys.readouterr().out
    text = (tmp_path / "alr_table7_demo.md").read_text("utf-8")
    failed = "- alr/concatenation (mosei): failed (exit status 1); see why: `msajax "
    assert f"{failed}--config alr:demo/concatenation --workdir {tmp_path}" in text
    later = ["alr:demo/addition", "alr:demo/multiplication", "alr:demo"]
    assert "alr/multiplication (mosei), alr (mosei): not run yet" in text
    names.clear()
    statuses.clear()
    assert run(tmp_path, *arguments) == 0
    assert names == ["alr:demo/concatenation", *later]
    names.clear()
    assert run(tmp_path, *arguments) == 0
    assert names == []
    # Another seed is another part of the same run.
    more = "--config.train.seeds=1,2,3,4"
    assert run(tmp_path, *arguments, more, "--dry-run") == 0
    text = (tmp_path / "alr_table7_demo.md").read_text("utf-8")
    assert "seeds 4 are not run yet" in text and names == []


def test_what_is_missing_names_the_file_that_it_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "none"))
    monkeypatch.setattr(
        reproduce, "_encoder_problem", lambda name, _: name and f"the encoder {name}"
    )
    jobs = reproduce.jobs("msg_mba", 1, "", {}, ())
    why = {
        (j.figures[0].system, j.figures[0].setting): j.missing
        for j in jobs
        if not j.entry
    }
    assert len(why) == len(jobs) == 29
    assert (
        "needs the data mosi/unaligned: MMSA's unaligned_50.pkl"
        in why["mult", "bert_features"]
    )
    assert "the encoder bert-base-uncased" in why["mult", "bert_features"]
    assert "needs the data mosi/mag: the pickle of MAG-BERT's" in why["msg_mba", ""]
    assert "the encoder xlnet-base-cased" in why["msg_mba", "xlnet"]
    assert "GloVe" in why["mult", "glove"]
    (simsv2,) = (
        j
        for j in reproduce.jobs("iml_cmm", 2, "", {}, ())
        if j.figures[0].system == "mmim"
    )
    assert simsv2.missing == "needs a recipe of simsv2 in configs/mmim.py"


def test_alrs_table_4_runs_on_the_files_of_conversations(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "none"))
    monkeypatch.setattr(reproduce, "_encoder_problem", lambda *_: "")
    monkeypatch.setattr(reproduce.text, "encoder_of", lambda options, folder: None)
    monkeypatch.setattr(reproduce, "_SMALL", -1)  # no file is opened
    rows = reproduce.jobs("alr", 4, "", {}, ())
    why = {(j.figures[0].system, j.figures[0].dataset): j.missing for j in rows}
    for dataset in ("meld", "iemocap"):
        file = "IEMOCAP_features.pkl or MELD_features_raw1.pkl"
        message = (
            f"needs the data {dataset}/features: {file} (--data {dataset}/features="
        )
        for system in ("alr", "mm_dfn", "tfn", "lmf", "mfm"):
            assert why[system, dataset].startswith(message)
    file = tmp_path / "conversations.pkl"
    file.touch()
    data = dict.fromkeys(("meld", "iemocap/features"), str(file))
    found = reproduce.jobs("alr", 4, "", data, ())
    made = {
        job.entry.recipe: {f.metric for f in job.figures}
        for job in found
        if job.entry and job.entry.recipe.startswith("alr:")
    }
    assert made == dict.fromkeys(
        ("alr:meld", "alr:iemocap"), {"accuracy", "weighted_f1"}
    )


def test_a_system_that_is_not_there_is_named(monkeypatch):
    names = [n for n in reproduce.models.names() if n != "hydiscgan"]
    monkeypatch.setattr(reproduce.models, "names", lambda: names)
    why = {
        job.figures[0].system: job.missing
        for job in reproduce.jobs("mfon", 2, "demo", {}, ())
    }
    assert why["hydiscgan"] == "msajax has no system hydiscgan" and not why["mfon"]


def test_an_encoder_for_all_is_for_the_systems_that_read_one():
    """A table has systems on features beside those that fine-tune."""
    common = ["--config.text.encoder=mine", "--config.audio.encoder=x"]
    frozen = ["--config.text.frozen=True"]
    assert reproduce._read_by("tfn:meld", common) == []
    assert reproduce._read_by("tfn:meld", common[:1] + frozen) == common[:1] + frozen
    for name in ("alr:meld", "mag_bert:demo", "tfn:mosi/bert_features"):
        assert reproduce._read_by(name, common) == common[:1]
    assert reproduce._read_by("mmml:mosi", common) == common
    heard = ["--config.audio.encoder=x", "--config.audio.frozen=True"]
    assert reproduce._read_by("tfn:mosi", heard) == heard
    assert reproduce._read_by("text_only:mosi", heard) == []


def test_the_encoder_of_waves_is_looked_for_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = str(tmp_path / "none")
    options = recipe.load("mmml:mosi", [("audio.encoder", missing)])
    lacking = reproduce._lacking(options)
    assert f"the encoder {missing}: a folder with its weights (--config.audio.enc" in (
        lacking
    )
    text = recipe.change(options, {"text.encoder": missing, "audio.encoder": ""})
    assert "weights and tokenizer (--config.text.enc" in reproduce._lacking(text)


def test_a_file_of_data_and_options_of_a_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "_encoder_problem", lambda *_: "")
    monkeypatch.setattr(reproduce.text, "encoder_of", lambda options, folder: None)
    monkeypatch.setattr(reproduce, "_SMALL", -1)  # no file is opened
    file = tmp_path / "mosi.pkl"
    file.touch()
    data = {"mosi/mag": str(file)}
    common = ["--config.text.encoder=mine"]
    jobs = reproduce.jobs("msg_mba", 6, "", data, common)
    made = [job.entry.options for job in jobs if job.entry]
    assert len(made) == 8 and {o.data.path for o in made} == {str(file)}
    # What makes the row what it is comes after the values of all.
    assert [o.text.encoder for o in made] == ["mine"] * 4 + ["xlnet-base-cased"] * 4
    networks = ["sLSTM", "bLSTM", "sGRU", "bGRU"]
    assert [o.model["recurrent"] for o in made] == networks * 2


@pytest.fixture
def transcripts(tmp_path, monkeypatch):
    """A csv file of CMU-MOSI without audio and vision, and an encoder for all recipes."""
    monkeypatch.setattr(reproduce, "_encoder_problem", lambda *_: "")
    monkeypatch.setattr(reproduce.text, "encoder_of", lambda options, folder: None)
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "none"))
    lines = ["video_id,clip_id,text,label,annotation,mode"]
    lines += [f"v{m},1,some words,1.0,Positive,{m}" for m in ("train", "valid", "test")]
    path = tmp_path / "MOSI-label.csv"
    path.write_text("\n".join(lines) + "\n")
    return {"mosi": str(path)}, ["--config.text.encoder=mine"]


def test_rows_of_text_run_on_transcripts_alone(transcripts, tmp_path, trained):
    jobs = reproduce.jobs("msg_mba", 4, "", *transcripts)
    made = {job.figures[0].setting: job for job in jobs}
    text = made["text"]
    assert text.entry and text.entry.options.data.modalities == ("text",)
    assert text.entry.options.data.dims == text.entry.options.data.lengths == ()
    assert text.differs == "text.encoder=mine instead of bert-base-uncased"
    path = transcripts[0]["mosi"]
    assert made["audio"].missing == f"needs audio, which {path} lacks"
    assert made[""].missing == f"needs audio and vision, which {path} lacks"
    assert sum(job.entry is not None for job in jobs) == 1
    record(text.entry, tmp_path, seeds=(1, 2))
    arguments = ["--paper", "msg_mba", "--table", "4", "--workdir", str(tmp_path)]
    more = ["--data", f"mosi={path}", *transcripts[1], "--dry-run"]
    assert reproduce.main([*arguments, *more]) == 0
    written = (tmp_path / "msg_mba_table4.md").read_text("utf-8")
    differs = f"{text.differs}; train.seeds=1,2 instead of 1,2,3,4,5"
    heading = "## Differences from the recipes"
    assert f"{heading}\n\n- msg_mba/text (mosi): {differs}\n" in written


def test_rows_are_not_run_as_what_they_are_not(transcripts):
    data, common = transcripts
    common = [*common, "--config.data.modalities=text"]
    made = {
        job.figures[0].setting: job
        for job in reproduce.jobs("mfon", 4, "", data, common)
        if job.figures[0].dataset == "mosi"
    }
    reason = "is a row of vision, but config.data.modalities says text"
    assert made["vision"].missing == reason
    # The whole system on text alone, as the command says.
    assert made[""].entry and made[""].differs.startswith(
        "the data lack audio and vision; data.modalities=text instead of text,audio,vision"
    )
    (misa,) = (
        job.missing
        for job in reproduce.jobs("mfon", 2, "", data, ())
        if (job.figures[0].system, job.figures[0].dataset) == ("tfn", "mosi")
    )
    assert misa.startswith("needs audio and vision, which")
    (words,) = (
        job.missing
        for job in reproduce.jobs("mfon", 2, "", data, common[1:])
        if (job.figures[0].system, job.figures[0].dataset) == ("tfn", "mosi")
    )
    assert "needs features of the text, but" in words and "text.frozen=True" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--table", "9"), 'table "9". Known: 2, 3, 4, 5'),
        (("--data", "mosi"), "--data mosi: expected DATASET=FILE"),
        (("--data", "mosy=x"), 'no data set "mosy"; did you mean "mosi"?'),
        (("--data", "mosi=nowhere.pkl"), "nowhere.pkl: no such file"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path, capsys, arguments, words):
    assert run(tmp_path, "--paper", "mfon", *arguments) == 1
    assert words in capsys.readouterr().err


def test_a_table_without_a_row_to_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "none"))
    home = str(tmp_path / "home")
    command = ["--paper", "iml_cmm", "--table", "3", "--workdir", home]
    monkeypatch.setattr(reproduce, "_encoder_problem", lambda *_: "an encoder")
    assert reproduce.main(command) == 1
    assert "no row can be run" in capsys.readouterr().err
    text = (tmp_path / "home/iml_cmm_table3.md").read_text("utf-8")
    assert "needs the data simsv2/unaligned" in text


def test_settings_that_are_options_are_of_systems_and_no_rows():
    names = recipe.names()
    for system, settings in reproduce._OPTIONS.items():
        assert f"{system}:mosi" in names
        assert not any(f"{system}:mosi/{setting}" in names for setting in settings)
