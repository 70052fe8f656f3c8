"""Several processes as one run: the same results, one writer, an end together, another number of them."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from msajax import main, processes
from tests.conftest import CACHE

ROOT = pathlib.Path(__file__).resolve().parent.parent
# SGD without dropout: results do not hang on the number of devices but for rounding.
ARGS = (
    *("--config", "lf_dnn:demo", "--config.optimizer.name=sgd"),
    *("--config.optimizer.learning_rate=0.01", "--config.train.seeds=1,2"),
    *("--config.train.seeds_at_once=2", "--config.train.patience=0"),
    *("--config.train.batch_size=200", "--config.model.hidden_dims=8,8,8"),
    *(f"--config.model.{m}_dropout=0.0" for m in ("audio", "vision", "post_fusion")),
)


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


def start(folder, *args, how=None):
    """Two processes with two devices each, training the demo in a folder."""
    port, started = free_port(), []
    for i in (0, 1):
        by_hand = [
            f"--config.parallel.coordinator=localhost:{port}",
            "--config.parallel.num_processes=2",
            f"--config.parallel.process_id={i}",
        ]
        told, env = (by_hand, {}) if how is None else how(i, port)
        env = os.environ | env
        env["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
        del env["NPROC"]  # users have none
        env["JAX_COMPILATION_CACHE_DIR"] = str(CACHE.with_name("processes"))
        env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
        command = [sys.executable, "-m", "msajax.main", *ARGS, *args, *told]
        command += ["--workdir", str(folder), "--config.parallel.devices=2"]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True
            )
        )
    return started


def ended(process, timeout=300):
    """(exit code, standard output, standard error) of a process that comes to its end."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def until_epoch(folder, number, started):
    """Waits until the log of seed 2 has so many epochs."""
    path = folder / "seed_2" / "log.jsonl"
    for _ in range(3000):
        if path.exists() and len(path.read_text().splitlines()) >= number:
            return
        assert all(p.poll() is None for p in started), [ended(p) for p in started]
        time.sleep(0.1)
    raise AssertionError(f"no epoch {number}")


def alone(folder, *args):
    """The same run in this process, on as many devices."""
    assert main.main([*ARGS, *args, "--workdir", str(folder)]) == 0


def assert_same_results(folder, other):
    found, expected = (
        json.loads((f / "results.json").read_text()) for f in (folder, other)
    )
    assert found["epochs"] == expected["epochs"]
    for split in ("valid", "test"):
        for metric in ("mae", "corr"):
            np.testing.assert_allclose(
                found[split][metric]["values"],
                expected[split][metric]["values"],
                atol=1e-5,
            )


EPOCHS = "--config.train.epochs=12"
TWO_EPOCHS = "--config.train.epochs=2"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The whole run in this process."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    alone(folder, EPOCHS)
    return folder


def epochs(folder):
    return len((folder / "seed_1" / "log.jsonl").read_text().splitlines())


def test_two_processes_train_as_one(tmp_path):
    """How they stop together, and who goes on, are slow tests."""
    first, second = map(ended, start(tmp_path / "two", TWO_EPOCHS))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    alone(tmp_path / "one", TWO_EPOCHS)
    assert_same_results(tmp_path / "two", tmp_path / "one")
    # One process speaks and writes.
    assert "MAE" in first[1] and "MAE" not in second[1]


@pytest.mark.slow
def test_two_processes_stop_together_and_one_goes_on_to_the_same_results(one, tmp_path):
    """A signal to one of them."""
    folder, args = tmp_path / "two", (EPOCHS, "--config.checkpoint.seconds=0.0")
    started = start(folder, *args)
    until_epoch(folder, 2, started)
    started[1].send_signal(signal.SIGTERM)
    first, second = map(ended, started)
    assert (first[0], second[0]) == (143, 143), first[2] + second[2]
    assert "saved in" in first[1] and "saved in" not in second[1]
    assert 2 <= epochs(folder) < 12
    saved = json.loads((folder / "config.json").read_text())["parallel"]
    assert saved["coordinator"] == "" and saved["num_processes"] == 0
    alone(folder, *args)
    assert_same_results(folder, one)
    assert epochs(folder) == 12


@pytest.mark.slow
def test_a_signal_to_one_is_heard_by_all_and_they_go_on_to_the_same_results(
    one, tmp_path
):
    args = (EPOCHS, "--config.checkpoint.seconds=1000.0")
    started = start(tmp_path / "two", *args)
    until_epoch(tmp_path / "two", 2, started)
    started[1].send_signal(signal.SIGTERM)
    first, second = map(ended, started)
    assert (first[0], second[0]) == (143, 143), first[2] + second[2]
    assert "saved in" in first[1]
    done = epochs(tmp_path / "two")
    assert 2 <= done < 12
    first, second = map(ended, start(tmp_path / "two", *args))
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert f"resumed after epoch {done}" in first[1]
    assert_same_results(tmp_path / "two", one)
    # One process speaks and writes, and the folder forgets where they met.
    assert "MAE" in first[1] and "MAE" not in second[1]
    assert epochs(tmp_path / "two") == 12
    saved = json.loads((tmp_path / "two/config.json").read_text())["parallel"]
    assert saved["coordinator"] == "" and saved["num_processes"] == 0


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_one_process_goes_on(one, tmp_path):
    args = (EPOCHS, "--config.checkpoint.seconds=0.0")
    first, second = start(tmp_path / "two", *args)
    until_epoch(tmp_path / "two", 2, [first, second])
    second.kill()
    ended(second)
    code, _, err = ended(first, timeout=60)
    assert code == 1
    assert "another process of this run has stopped" in err
    alone(tmp_path / "two", *args)
    assert_same_results(tmp_path / "two", one)
    assert epochs(tmp_path / "two") == 12


def test_a_failure_of_one_ends_the_others(tmp_path):
    """A recipe that differs between the processes, under mpirun's variables."""

    def mpirun(i, port):
        told = [f"--config.parallel.coordinator=localhost:{port}"]
        env = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": str(i)}
        env["OMPI_COMM_WORLD_LOCAL_RANK"] = str(i)
        return [*told, f"--config.train.epochs={2 + i}"], env

    for process in start(tmp_path / "two", how=mpirun):
        code, _, err = ended(process)
        assert code == 1
        assert "the recipe of process 1 is not that of process 0" in err


@pytest.mark.parametrize(
    "values,message",
    [
        (("", 2, 0), "num_processes is 2, but parallel.coordinator does not say where"),
        (("host:80", 2, 2), "process_id is 2; of num_processes=2 give one from 0 to 1"),
        (("host", 2, 0), 'coordinator is "host"; give HOST:PORT'),
        (("host:80", 0, 0), "by hand give all three"),
        (("", 0, 1), "by hand give all three"),
    ],
)
def test_values_that_do_not_fit(values, message):
    with pytest.raises(ValueError, match=message), processes.joined(*values):
        pass


@pytest.mark.parametrize("env", [{}, {"OMPI_COMM_WORLD_SIZE": "2"}])
def test_a_port_that_is_taken(monkeypatch, env):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    count = 0 if env else 2
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ValueError, match=f"process 0 cannot open port {port}"):
            with processes.joined(f"localhost:{port}", count, 0):
                pass


def launched_by(name, job, rank):
    """The variables by which jax knows a launcher, with an address that the job's number gives."""
    if name == "srun":
        return {
            **{"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "node[01-03]"},
            **{"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"},
            **{"SLURM_PROCID": str(rank), "SLURM_LOCALID": "0"},
        }
    uri = f"{job << 12}.0;tcp://10.0.0.1,10.0.0.2:34911"
    world = {"SIZE": "2", "RANK": str(rank), "LOCAL_RANK": "0"}
    named = {f"OMPI_COMM_WORLD_{key}": value for key, value in world.items()}
    return named | {"OMPI_MCA_orte_hnp_uri": uri}


def servers():
    """Two of the ports from which jax chooses, from 61440 on, held open."""
    found = []
    for port in range(2**16 - 2**12, 2**16):
        with contextlib.suppress(OSError):
            found.append(socket.create_server(("", port)))
        if len(found) == 2:
            return found
    raise AssertionError("no free ports")


class Joining(Exception):
    pass


@pytest.mark.parametrize("name,host", [("srun", "node01"), ("mpirun", "10.0.0.1")])
def test_a_launchers_port_that_is_taken(monkeypatch, name, host):
    def initialize(*_, **__):
        raise Joining

    def join(rank, port):
        for key, value in launched_by(name, port - 2**16 + 2**12, rank).items():
            monkeypatch.setenv(key, value)
        with processes.joined():
            pass

    monkeypatch.setattr("jax.distributed.initialize", initialize)
    taken, free = servers()
    ports = [server.getsockname()[1] for server in (taken, free)]
    free.close()
    with taken:
        message = f"at {host}:{ports[0]}, but process 0 cannot open port {ports[0]}"
        with pytest.raises(ValueError, match=message):
            join(0, ports[0])
        for rank, port in ((1, ports[0]), (0, ports[1])):
            with pytest.raises(Joining):
                join(rank, port)
        monkeypatch.setenv("JAX_COORDINATOR_PORT", str(ports[0]))
        with pytest.raises(ValueError, match=message):
            join(0, ports[1])


def test_a_launcher_that_jax_does_not_know(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    for name in ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ValueError, match="does not tell where process 0 is; give config"
    ):
        with processes.joined():
            pass


def test_mpirun_that_does_not_tell_where_to_meet(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.delenv("OMPI_MCA_orte_hnp_uri", raising=False)
    with pytest.raises(ValueError, match="give config.parallel.coordinator=HOST:PORT"):
        with processes.joined():
            pass


def test_a_process_that_stands_alone_agrees_with_itself(monkeypatch):
    # A shell of sbatch: tasks are asked for, but this process is not one of them.
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with processes.joined():
        assert processes.is_first()
        assert processes.agree(True, False) == (True, False)
        assert processes.from_first(7) == 7
        processes.check_same("the recipe", "text")
