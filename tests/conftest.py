"""Strict tests: four virtual CPU devices, rank promotion raises, warnings are errors."""

import functools
import gc
import hashlib
import itertools
import os
import pathlib
import signal

# Read when jax is first imported. NPROC sizes XLA's thread pool: with fewer
# threads than devices collectives can starve on a small machine.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["NPROC"] = "16"
# Optimization level 0 halves the time that tests compile; they run little. A program in one
# part takes a few percent less than one whose parts are compiled at the same time.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

import flax
import hypothesis
import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.weights.torch_files"]  # the fixture torch_save

# A shell that starts the tests in the background lets them ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("slow machines too", deadline=None)
hypothesis.settings.load_profile("slow machines too")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tracing makes many objects and few cycles: looking for those takes a few percent. What was
# imported stays: it is not looked through again.
gc.set_threshold(100_000, 20, 100)
# Kept from run to run, for all checkouts with the same packages. Processes share it: jax warns
# of an entry that another one is writing (pyproject.toml lets it), and compiles by itself.
LOCK = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()[:16]
HOME = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
CACHE = pathlib.Path(HOME) / "msajax" / "tests" / LOCK
jax.config.update("jax_compilation_cache_dir", str(CACHE))
# librosa's functions, which numba compiles when they are first called: 12 seconds instead of
# 19, and in a folder of their own, so that no other program finds them slow.
os.environ["NUMBA_OPT"] = "0"
os.environ["NUMBA_CACHE_DIR"] = str(CACHE.with_name("numba"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _param(self, name, init_fn, *args, **options):
    """As flax's, which evaluates the initializer again in each `apply` only to compare shapes.

    That is a fifth of what tracing takes; where the shape is given, comparing it says the same.
    """
    if not (args and isinstance(args[0], tuple) and self.has_variable("params", name)):
        return _flax_param(self, name, init_fn, *args, **options)
    self.reserve(name, "params")
    value = self.get_variable("params", name)
    if value.shape != args[0]:
        place = self.path_text
        raise flax.errors.ScopeParamShapeError(name, place, args[0], value.shape)
    return value


_flax_param = flax.core.scope.Scope.param
flax.core.scope.Scope.param = _param

# `jnp.asarray` of an array of NumPy runs a program that returns it, one for each shape.
jax.lax.stage_p.def_impl(jax.device_put)

TESTS = itertools.count()


def pytest_collection_finish():
    gc.freeze()


def pytest_sessionfinish():
    gc.freeze()  # pytest collects garbage five times more before the process ends


@pytest.fixture(autouse=True)
def few_programs():
    """Drops compiled programs in time: the system allows a process about 65,000 mappings.

    It takes seconds, so not sooner; a process comes to 9 GB.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    # A test makes at most some hundred; counting them takes as long as a small test.
    due = next(TESTS) % 20 == 0 and maps.exists()
    if due and maps.read_bytes().count(b"\n") > 40_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def quick_random(monkeypatch):
    """Trainings draw their numbers by `random_bits`, and so compile in less time."""
    from tests import random_bits

    for name in ("key", "wrap_key_data"):
        made = functools.partial(getattr(jax.random, name), impl=random_bits.IMPL)
        monkeypatch.setattr(jax.random, name, made)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Folder with the real data and the golden numbers; not part of the project."""
    path = os.environ.get("MSAJAX_SHARED", "")
    if not path:
        pytest.skip("MSAJAX_SHARED is not set: no real data or golden numbers here")
    return pathlib.Path(path)


@pytest.fixture
def tokenizer_in_process(monkeypatch):
    """Runs tokenizers in the process of the tests, where they share one import of transformers."""
    from msajax.encoders import tokenize, tokenizer_process

    def run(job: pathlib.Path) -> str:
        tokenizer_process.make(job)
        return ""

    monkeypatch.setattr(tokenize, "_run", run)
