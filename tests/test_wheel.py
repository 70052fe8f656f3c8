"""The wheel: what a user installs has the command and the recipes, in any folder."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import msajax

ROOT = pathlib.Path(__file__).parent.parent


def run(*command, folder, **environment):
    """What a command prints in a folder."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder(tmp_path):
    # Built without network, by the setuptools of requirements.lock.
    pytest.importorskip("setuptools", minversion="77")
    source, wheels, site, empty = (
        tmp_path / name for name in ("source", "wheels", "site", "empty")
    )
    empty.mkdir()
    for name in ("msajax", "configs"):  # a copy: a build leaves files beside its source
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    options = ("--no-deps", "--no-index")
    build = ("wheel", *options, "--no-build-isolation", "--wheel-dir", wheels)
    run(*pip, *build, source, folder=empty)
    (wheel,) = wheels.iterdir()
    run(*pip, "install", *options, "--target", site, wheel, folder=empty)

    here = {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    command = (site / "bin" / "msajax", "--config", "mult:mosi", "--help-config")
    printed = run(*command, folder=empty, **here)
    assert "--config.model.dim=50" in printed and "--config.data.dataset" in printed
    code = "import msajax; print(msajax.__file__, *msajax.list_recipes(), sep='\\n')"
    file, *recipes = run(sys.executable, "-c", code, folder=empty, **here).splitlines()
    assert pathlib.Path(file).is_relative_to(site)
    assert recipes == msajax.list_recipes()
    code = "from msajax.serve import page; print(page.html())"
    assert "</html>" in run(sys.executable, "-c", code, folder=empty, **here)
    code = "from msajax.report import published; print(len(published.figures()))"
    assert int(run(sys.executable, "-c", code, folder=empty, **here)) > 1000
    assert [*empty.iterdir()] == []
