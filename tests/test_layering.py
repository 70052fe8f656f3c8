"""Imports go one way: the layers of msajax, read from its import statements."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "msajax"

# What each module (or folder) may import of ours.
ALLOWED = {
    "losses": set(),
    "metrics": set(),
    "data.spec": set(),
    "optim": set(),
    "parallel": set(),
    "book": {"optim"},
    "processes": set(),
    "checkpoint": {
        "processes",
        "book",
        "data.durable",
        "data.json_file",
        "data.errors",
        "data.parts",
    },
    "data": {"data"},
    "nn": {"nn", "parallel"},
    "models": {"models", "nn", "losses", "data.spec", "parallel"},
    "interop": {
        *("interop", "models", "nn", "losses"),
        *("data.spec", "data.json_file", "data.errors"),
    },
    "pretrained": {
        "data.json_file",
        "data.tokenizer_files",
        *("pretrained", "interop", "nn"),
        *("data.pickles", "data.errors", "data.prepared", "data.tokenize"),
        "data.kinds",
    },
    "feed": {"parallel", "data.loader"},
    "evaluate": {"parallel", "metrics", "feed", "data.loader", "data.spec"},
    "step": {
        *("models.base", "optim", "parallel", "book", "evaluate", "feed"),
        *("data.loader", "data.spec"),
    },
    "report": {"report", "metrics", "data.spec"},
    "logs": {"board", "book"},
    "board": set(),
    "train": {
        *("models.base", "parallel", "book", "checkpoint", "evaluate", "feed"),
        *("processes", "step", "data.loader", "data.spec", "logs"),
    },
    "text": {
        *("config", "config_text", "pretrained", "step", "models.base", "nn"),
        *(
            "data.parts",
            "data.store",
            "data.tokenize",
            "data.tokenizer_files",
            "data.vocabulary",
            "data.spec",
        ),
    },
    "config_text": {"models"},
    "config_schema": {"data.spec", "optim"},
    "config_values": {"data.spec"},
    "config": {
        "config_schema",
        "config_text",
        "config_values",
        "models",
        "book",
        "data.spec",
        "data.splits",
        "data.json_file",
        "optim",
    },
    "workdir": {"config", "checkpoint", "data"},
    "signals": {"data.parts"},
    "output": {"workdir", "data.spec"},
    "compiled": set(),
    "program": {"signals"},
}
FREE = {"main", "run", "corpora", "settings", "takeover", "__init__"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(p for p in parts if p != "__init__") or "__init__", path


def imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module.split(".")[0] == "msajax":
                base = node.module.removeprefix("msajax").lstrip(".")
                names = [n.name for n in node.names]
                found |= {f"{base}.{n}" if base else n for n in names}
        elif isinstance(node, ast.Import):
            found |= {
                n.name.removeprefix("msajax.")
                for n in node.names
                if n.name.startswith("msajax.")
            }
    return found


def within(name, allowed):
    return any(name == a or name.startswith(a + ".") for a in allowed)


@pytest.mark.parametrize("module,path", list(modules()), ids=lambda x: str(x)[-30:])
def test_imports_only_lower_layers(module, path):
    if module.split(".")[0] in FREE:
        return
    key = module if module in ALLOWED else module.split(".")[0]
    assert key in ALLOWED, f"{module} has no layer: add it to ALLOWED"
    wrong = {n for n in imports(path) if not within(n, ALLOWED[key])}
    assert not wrong, f"msajax.{module} may not import {sorted(wrong)}"


def test_data_never_imports_jax():
    code = (
        "import sys, pkgutil, importlib, msajax.data as data\n"
        "for m in pkgutil.iter_modules(data.__path__, 'msajax.data.'):\n"
        "    importlib.import_module(m.name)\n"
        "print({'jax', 'tensorflow', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_only_parallel_knows_devices():
    words = ("pmap", "shard_map", "axis_name", "make_mesh", "process_index")
    for module, path in modules():
        if module not in ("parallel", "processes"):
            text = path.read_text("utf-8")
            assert not [w for w in words if w in text], module


def test_files_are_short():
    for _, path in modules():
        assert len(path.read_text("utf-8").splitlines()) <= 350, path
