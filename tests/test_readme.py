"""The documents: their python runs as printed, and what they name exists."""

import importlib
import pathlib
import re
import shlex
import sys
import textwrap

import h5py
import numpy as np
import pytest

import msajax
from msajax import main, models
from msajax.data.read import read
from msajax.data.spec import Spec
from msajax.report import papers
from msajax.report.__main__ import parse
from msajax.run import output, recipe
from tests.test_recipes import NUMBERED
from tests.weights.test_load import random_state

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("configs", "msajax", "tools")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in (
        *ROOT.glob("*.md"),
        *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")),
    )
}
pages = pytest.mark.parametrize("page", PAGES)
FILES = {p.name for f in (*FOLDERS, "tests") for p in (ROOT / f).rglob("*.py")}
OWN = {"mine.py", "best.py"}  # what readers, and a search, write


def snippets(page):
    """The python of a page."""
    blocks = re.findall(r"^ *```python\n(.*?)^ *```", PAGES[page], re.DOTALL | re.M)
    return [textwrap.dedent(block) for block in blocks]


def commands(page):
    """The commands of a page's indented blocks, each as its words."""
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    blocks = re.findall(r"(?<=\n\n)(?:^ {4,}\S.*\n)+", text, re.M)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[words[:1] == ["time"] :] for words in found if words]


def run(block, folder, monkeypatch):
    """The names of a snippet that is run in a folder."""
    monkeypatch.chdir(folder)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    return names


# Sizes, links and names ------------------------------------------------------------


def test_the_first_pages_are_short():
    assert len(PAGES["README.md"].encode()) <= 9_000
    assert len(PAGES["WORKSPACE.md"].encode()) <= 10_000


@pages
def test_files_and_links_exist(page):
    home = (ROOT / page).parent
    for link in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert "://" in link or (home / link).is_file(), link
    for name in re.findall(r"[\w/]+\.py\b", PAGES[page]):
        name = name.removeprefix("/")
        if name.split("/")[0] in (*FOLDERS, "tests"):
            known = (ROOT / name).is_file() or name.split("/")[-1] in OWN
        else:
            known = name.split("/")[-1] in FILES | OWN
        assert known, name


@pages
def test_recipes_load(page):
    names = re.findall(r"`([a-z_0-9]+:[a-z_0-9]+(?:/[a-z_0-9+]+)?)`", PAGES[page])
    names += re.findall(r"`(configs/[a-z_]+\.py:[a-z_0-9/]+)`", PAGES[page])
    for name in names:
        recipe.load(name)


@pages
def test_options_exist(page):
    """`--config.KEY=VALUE` and `config.KEY` in the text."""
    for key in re.findall(r"\bconfig\.([a-z_]+(?:\.[a-z_]+)*)", PAGES[page]):
        if key in ("json", "model", "text"):  # the file, and groups
            continue
        if not key.startswith("model."):
            assert recipe.type_of("lf_dnn", key) is not None, key
        else:
            field = key.removeprefix("model.")
            fields = [models.get(name).__dataclass_fields__ for name in models.names()]
            assert any(field in known for known in fields), key


# Habits of ours that a reader from outside does not understand.
HABITS = (
    r"\b(goes on|likewise|besides|unlike theirs|as all that follows|to the same bits)\b"
)


def test_sentences_have_a_subject():
    sources = [p for f in FOLDERS for p in (ROOT / f).rglob("*.py")]
    texts = PAGES | {str(p.relative_to(ROOT)): p.read_text("utf-8") for p in sources}
    found = {name: re.findall(HABITS, text, re.I) for name, text in texts.items()}
    assert {name: words for name, words in found.items() if words} == {}


# Tables ----------------------------------------------------------------------------


def cells(page, heading=""):
    """{system: what the first table below a heading says of it}."""
    table = re.search(r"(?:^\|.*\n)+", PAGES[page].partition(heading)[2], re.M)
    found = {}
    for line in table[0].splitlines():
        first, _, rest = line.removeprefix("| ").partition(" | ")
        for system in re.findall(r"`(\w+)`", first):
            found[system] = found.get(system, "") + rest
    return found


def test_the_page_of_systems_has_them_all():
    assert {*cells("msajax/models/README.md", "# Systems")} == {*models.names()}


def family(row):
    return re.sub(r"\d+", "<n>", row)


def test_the_page_of_recipes_has_all_rows():
    """All, and no others; one numbered row stands for its family: `t64_o200`."""
    page = cells("configs/README.md", "## Rows")
    rows = {}
    for name in (*recipe.names(), *NUMBERED):
        system, _, argument = name.partition(":")
        rows.setdefault(system, set()).update({argument.partition("/")[2]} - {""})
    families = {}
    for name in NUMBERED:
        families.setdefault(name.partition(":")[0], set()).add(
            family(name.partition("/")[2])
        )
    for system in models.names():
        named = {*re.findall(r"`(\w+)`", page.get(system, ""))}
        numbered = {
            r for r in named | rows[system] if family(r) in families.get(system, ())
        }
        assert named - numbered == rows[system] - numbered, system
        assert {*map(family, named & numbered)} == families.get(system, set()), system


def test_every_system_has_a_recipe_of_the_demo_corpus():
    names = recipe.names()
    demos = {"utterance": "demo", "dialogue": "dialogue_demo"}
    wanted = [f"{s}:{demos[models.get(s).view]}" for s in models.names()]
    assert [name for name in wanted if name not in names] == []


# Commands --------------------------------------------------------------------------


def check_msajax(words):
    args, pairs = main.parse(words)
    written = args.config and args.config.partition("/")[0] in ("mine:demo", "runs")
    if args.config and not written:
        recipe.load(args.config, pairs)
    else:
        assert not pairs


def check_tool(file, words):
    """The arguments of a program are those that it knows."""
    source = (ROOT / file).read_text("utf-8")
    for word in words:
        if word.startswith("--") and not word.startswith("--config."):
            assert f'"{word.partition("=")[0]}"' in source, word
    if file == "tools/table.py":
        table = importlib.import_module("tools.table")
        args, common = table._parse([w for w in words if not w.startswith("mine:")])
        table.read_list(args.recipes, args.list, common, every=args.all)


def check(words):
    words = [word for word in words if not re.fullmatch(r"[A-Z_]+=.*", word)]
    program, *rest = words
    if program == "msajax":
        check_msajax(rest)
    elif program in ("srun", "mpirun"):
        check(rest)
    elif program == "make":
        targets = [word for word in rest if "=" not in word]
        makefile = (ROOT / "Makefile").read_text("utf-8")
        assert all(re.search(rf"^{t}:", makefile, re.M) for t in targets), targets
    elif program.endswith("python"):
        if rest[0] == "-m" and rest[1] == "pytest":
            paths = [word for word in rest if word.startswith("tests")]
            assert paths and all((ROOT / path).exists() for path in paths), paths
        elif rest[:2] == ["-m", "msajax.report"]:
            args = parse(rest[2:])
            papers.find(args.figure)
        elif rest[0] == "exported/load.py":  # which tools/export.py writes
            assert len(rest) == 3
        elif rest[0] == "-c":
            compile(rest[1], "command", "exec")
        else:
            assert (ROOT / rest[0]).is_file(), rest[0]
            check_tool(rest[0], rest[1:])
    else:
        assert program in ("pip", "uv"), program


@pages
def test_commands_are_understood(page):
    for words in commands(page):
        try:
            check(words)
        except (SystemExit, ValueError) as error:
            raise AssertionError(shlex.join(words)) from error


def test_there_are_commands():
    found = [words for page in PAGES for words in commands(page)]
    assert sum(words[0] == "msajax" for words in found) > 25
    assert len(found) > 50


# Python ----------------------------------------------------------------------------


def test_the_notebook_runs(tmp_path, monkeypatch, capsys):
    (block,) = snippets("README.md")
    # The epochs, of which a test needs one.
    made = run(block.replace("epochs=3", "epochs=1"), tmp_path, monkeypatch)
    assert len(block.strip().splitlines()) == len(("import msajax", "")) + 6
    assert "lf_dnn on demo corpus" in capsys.readouterr().out
    assert (tmp_path / "arrays.npz").exists()
    assert len(made["fusion"]) == len(made["corpus"].splits["test"])


def test_the_arrays_of_a_file_of_ones_own_are_read(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["NAME"] = np.ones((3, 4, 5))
    head = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID"
    (tmp_path / "MELD").mkdir()
    for stem in ("train", "dev", "test"):
        lines = (head, "Hi,Ross,joy,0,0", "Oh,Joey,fear,0,2", "No,Ross,joy,1,0")
        (tmp_path / f"MELD/{stem}_sent_emo.csv").write_text("\n".join(lines))
    names = [
        f"{s}_dia{x}"
        for s in ("train", "valid", "test")
        for x in ("0_utt0", "0_utt2", "1_utt0")
    ]
    np.savez(
        tmp_path / "audio.npz", **{n: np.full(4, i + 1.0) for i, n in enumerate(names)}
    )
    for block in snippets("msajax/data/README.md"):
        run(block, tmp_path, monkeypatch)
    meld = read(tmp_path / "meld.npz", dataset="meld").splits["valid"]
    assert meld.arrays["audio"][:, 0, 0].tolist() == [4, 5, 6]
    assert meld.raw_text.tolist() == ["Hi", "Oh", "No"]
    found = [meld.arrays[k].tolist() for k in ("label", "dialogue", "turn", "speaker")]
    assert found == [[4, 2, 4], [0, 0, 1], [0, 1, 0], [0, 1, 0]]
    corpus = read(tmp_path / "clips.npz", dataset="mosi")
    assert [len(corpus.splits[name]) for name in ("train", "valid", "test")] == [1] * 3
    assert corpus.splits["train"].arrays["audio"].shape == (1, 40, 74)


def test_weights_of_mmsa_predict(tmp_path, monkeypatch):
    # A checkpoint of MMSA's TFN on MOSI, of random values.
    spec = Spec(dims=(768, 5, 20), lengths=(50, 375, 500), num_train=1284)
    state = random_state(models.get("tfn")(spec=spec, padded=True))
    np.savez(tmp_path / "tfn-mosi.npz", **state)
    (block,) = snippets("msajax/models/README.md")
    made = run(block, tmp_path, monkeypatch)
    assert made["pred"].shape == (4,) and np.isfinite(made["pred"]).all()


def test_a_system_is_two_files(tmp_path, monkeypatch):
    """The page of WORKSPACE.md, to a run."""
    model, options = snippets("WORKSPACE.md")
    (tmp_path / "mine.py").write_text(model)
    (tmp_path / "recipe.py").write_text(options)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "msajax.models.mine", None)
    del sys.modules["msajax.models.mine"]
    assert "mine" in msajax.list_systems()
    name = f"{tmp_path}/recipe.py:demo"
    folder = tmp_path / "run"
    fitted = msajax.fit(name, workdir=folder, seeds=(1,), epochs=1, quiet=True)
    assert fitted.options.model["dim"] == 32
    assert output.read_results(folder)["mae"] > 0


def test_the_pages_have_no_other_python():
    found = {page: len(snippets(page)) for page in PAGES if snippets(page)}
    assert found == {
        "README.md": 1,
        "WORKSPACE.md": 2,
        "msajax/data/README.md": 3,
        "msajax/media/README.md": 1,
        "msajax/models/README.md": 1,
    }
