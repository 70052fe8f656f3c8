"""Imports go one way: the layers of msajax, read from its import statements."""

import ast
import pathlib
import subprocess
import sys
import tomllib

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "msajax"

# What each module (or folder) may import of ours; the nearest name counts.
ALLOWED = {
    "losses": set(),
    "metrics": set(),
    "parallel": set(),
    "launcher": set(),
    "processes": {"launcher"},
    "data": {"data"},
    "data.spec": set(),
    "weights": {"weights", "data"},
    "nn": {"nn", "parallel"},
    "encoders": {"encoders", "nn", "weights", "data"},
    "media": {"media", "encoders", "data"},
    "models": {"models", "nn", "encoders", "losses", "parallel", "data.spec"},
    "report": {"report", "metrics", "data.spec"},
    # What reads finished runs stands above them, like the command line.
    **{
        f"report.{name}": {"report", "run", "data", "metrics", "encoders"}
        for name in ("__main__", "card", "finished", "papers", "robust", "runs")
    },
    "train": {
        *("train", "models.base", "encoders.lora", "parallel", "processes", "metrics"),
        "data",
    },
    "run": {
        *("run", "train", "models", "encoders", "weights", "data", "parallel"),
        *("processes", "metrics", "report", "media"),
    },
    "api": {"run", "models", "data", "report"},
    "serve": {"serve", "run", "media", "report.results", "data"},
    "main": {"run", "serve"},
    "__init__": {"api", "metrics"},
}


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


def test_media_packages_are_imported_where_they_are_used():
    """They take seconds, and are not there without the extra `media`."""
    code = (
        "import sys, pkgutil, importlib, msajax, msajax.main, msajax.media as media\n"
        "import msajax.serve.scoring\n"
        "import tools.extract_features, tools.make_demo_clips\n"
        "for m in pkgutil.iter_modules(media.__path__, 'msajax.media.'):\n"
        "    if m.name != 'msajax.media.network': importlib.import_module(m.name)\n"
        "print({'av', 'jax', 'librosa', 'numba', 'soundfile', 'soxr', 'starlette', 'uvicorn'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


def test_only_parallel_knows_devices():
    words = ("pmap", "shard_map", "axis_name", "make_mesh", "process_index")
    for module, path in modules():
        if module not in ("parallel", "processes"):
            text = path.read_text("utf-8")
            assert not [w for w in words if w in text], module


def test_the_wheel_has_every_folder():
    facts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))
    listed = facts["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(PACKAGE.parent) for _, path in modules()}
    wanted = {".".join(folder.parts) for folder in folders} | {"msajax.recipes"}
    assert sorted(wanted) == listed


def test_files_are_short():
    for _, path in modules():
        assert len(path.read_text("utf-8").splitlines()) <= 350, path


def test_modules_keep_their_names():
    """Of ours: `from msajax.run import run as runs` hides which module a line is about."""
    root = PACKAGE.parent
    for folder in ("msajax", "configs", "tools", "tests"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                source = node.module if isinstance(node, ast.ImportFrom) else None
                for name in node.names if source else ():
                    file = root.joinpath(*source.split("."), name.name)
                    module = file.with_suffix(".py").exists() or file.is_dir()
                    same = name.asname in (None, name.name)
                    assert same or not module, f"{path}:{node.lineno} {name.asname}"
