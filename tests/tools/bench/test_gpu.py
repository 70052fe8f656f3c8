import importlib.util
import json
import pathlib
import sys
from types import SimpleNamespace

import jax
import pytest

from tools.bench import gpu_job, gpu_table, gpu_trace
from tools.bench.gpu_job import Job

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "tools/bench/gpu.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def precision():
    before = jax.config.values["jax_default_matmul_precision"]
    yield
    jax.config.update("jax_default_matmul_precision", before)


def plane(name, **lines):
    made = []
    for line, events in lines.items():
        events = [
            SimpleNamespace(name=n, duration_ns=ns, stats=stats)
            for n, ns, stats in events
        ]
        made.append(SimpleNamespace(name=line.replace("_", " "), events=events))
    return SimpleNamespace(name=name, lines=made)


def test_kernels_of_a_gpu_are_those_of_its_streams():
    kernels = [("loop_fusion_3", 2e6, ()), ("loop_fusion_12.1", 4e6, ())]
    kernels += [("gemm", 1e6, ()), ("MemcpyD2D", 1e6, ())]
    planes = [
        plane("/device:GPU:0", Stream_13=kernels, XLA_Ops=[("loop_fusion_3", 9e6, ())]),
        plane("/host:CPU", python=[("cuLaunchKernelEx", 5, ()), ("f", 5, ())]),
        plane("/host:CUPTI", thread=[("cuGraphLaunch", 5, ())]),
    ]
    found = gpu_trace.summary(SimpleNamespace(planes=planes), 2, longest=1)
    assert found == {
        "kernels": 2.0,
        "launches": 1.0,
        "busy_ms": 4.0,
        "longest": [["loop_fusion", 3.0, 1.0]],
    }


def test_a_trace_without_kernels_names_its_planes():
    planes = [plane("/host:CPU", python=[("f", 5, ())]), plane("Task Environment")]
    with pytest.raises(ValueError, match="no kernels; its planes: /host:CPU, Task"):
        gpu_trace.summary(SimpleNamespace(planes=planes), 1)


@pytest.mark.slow
def test_one_system_end_to_end(gpu, precision, tmp_path, capsys):
    job = Job("lf_dnn", traced=True, bits=True)
    options = dict(lock=str(tmp_path / "lock"), seconds=0.01, quick=True)
    result = vars(job) | gpu_job.measure(job, **options)
    assert "trace_failed" not in result
    trace = result["trace"]
    assert trace["kernels"] > 10 and trace["launches"] == 0
    names = [name for name, _, _ in trace["longest"]]
    assert len(names) == 10 and not set(names) & {"while", "call"}
    assert sum(ms for _, ms, _ in trace["longest"]) <= trace["busy_ms"]
    second = dict(result, run=2, flags="exclude", rows_per_second=1.0)
    other = dict(result, side="eager", hash="0" * 16, run=1)
    other |= {"rows_per_second": result["rows_per_second"] / 4}
    peak = {"peak": dict.fromkeys(gpu_job.PRECISIONS, 1e12), "device": "cpu"}
    lines = map(json.dumps, (peak, result, second, dict(second, run=1), other))
    (tmp_path / "found.jsonl").write_text("\n".join(lines))
    assert gpu.main(["--show", str(tmp_path / "found.jsonl")]) == 0
    printed = capsys.readouterr().out.splitlines()
    rows = [x.split() for x in printed]
    (row,) = (x for x in rows if x[:2] == ["lf_dnn", "jax"] and "longest" not in x)
    speed = f"{result['rows_per_second']:.0f}"
    assert row[2:6] == ["float32", "1", "4", speed]
    share = 100 * result["flops_per_step"] / (result["step_ms"] / 1e3) / 1e12
    assert row[9] == f"{share:.1f}" and row[-1] == "4.00"
    assert row[10] == f"{trace['kernels']:.0f}"
    assert any("longest kernels" in x for x in printed)
    (bits,) = (x for x in rows if x[2:3] == ["exclude"])
    assert bits[3:5] == ["2", "equal"]
    assert printed[-1] == "Failed: 0 of 5"


def test_the_bits_of_runs_that_differ():
    runs = [vars(Job("mult", run=i)) | {"hash": str(i)} for i in (1, 2)]
    table = gpu_table._bits([r | {"rows_per_second": 1.0} for r in runs])
    assert table.splitlines()[-1].split()[3:5] == ["2", "DIFFER"]


def interpreter(tmp_path, script):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_failures_are_lines_and_the_rest_goes_on(gpu, tmp_path, monkeypatch, capsys):
    script = """case "$3" in
*'"system": "mfon"'*) echo "RuntimeError: out of memory" >&2; exit 3;;
*'"system": "mult"'*) sleep 60;;
*) echo '{"rows_per_second": 7.0}';;
esac"""
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, script))
    out = tmp_path / "out.jsonl"
    options = ["--limit", "0.5", "--workers", "2", "--out", str(out)]
    jobs = [Job("mfon"), Job("mult"), Job("lf_dnn", seeds=5)]
    results = gpu.run(jobs, gpu._parse(options))
    by_name = {r["system"]: r for r in results}
    assert by_name["mfon"]["failed"] == "exit status 3: RuntimeError: out of memory"
    assert by_name["mult"]["failed"] == "stopped: --limit is over"
    assert by_name["lf_dnn"]["rows_per_second"] == 7.0
    assert [json.loads(x) for x in out.read_text().splitlines()] == results
    printed = capsys.readouterr().out
    assert "mfon jax float32: FAILED: exit status 3: RuntimeError" in printed
    assert "lf_dnn jax float32 5 seeds: 7 rows/s" in printed


def test_what_the_minutes_leave_out_is_listed(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", interpreter(tmp_path, "sleep 60"))
    args = gpu._parse(["--minutes", "0.005", "--workers", "1"])
    told = [r["failed"] for r in gpu.run([Job("mfon"), Job("mult")], args)]
    expected = ["not started: --minutes are over", "stopped: --minutes are over"]
    assert sorted(told) == expected


def test_the_plan_begins_with_what_matters_most(gpu):
    everything = gpu.plan(gpu.GROUPS, gpu.SYSTEMS, list(gpu_job.PRECISIONS))
    assert len(set(everything)) == len(everything)
    first = [job.name for job in everything[:3]]
    assert first == ["peak jax float32", "msg_mba jax bfloat16", "msg_mba jax float32"]
    some = gpu.plan(["speed"], ["lf_dnn"], ["tf32"])
    assert some[1:] == [Job("lf_dnn", precision="tf32", traced=True)]
    with pytest.raises(SystemExit):
        gpu.main(["--systems", "msgmba"])
