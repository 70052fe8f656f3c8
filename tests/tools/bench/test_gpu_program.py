"""Counts of a compiled program, and what is said where nothing can be compiled."""

import jax
import jax.numpy as jnp
import pytest

from msajax.run import recipe
from msajax.run.options import build
from tools.bench import gpu_program
from tools.bench.data import Shape, example

# As XLA writes a program for a GPU, shortened.
PROGRAM = """HloModule jit_loop, is_scheduled=true

%fused_add (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %add.1 = f32[4]{0} add(%p, %p)
}

%fused_update (a.2: f32[9,4], i.2: s32[], u: f32[1,4]) -> f32[9,4] {
  %a.2 = f32[9,4]{1,0} parameter(0)
  %i.2 = s32[] parameter(1)
  %u = f32[1,4]{1,0} parameter(2)
  ROOT %dynamic-update-slice.1 = f32[9,4]{1,0} dynamic-update-slice(%a.2, %u, %i.2, %i.2)
}

%fused_slice (a.3: f32[9,4], i.3: s32[]) -> f32[1,4] {
  %a.3 = f32[9,4]{1,0} parameter(0)
  %i.3 = s32[] parameter(1)
  ROOT %dynamic-slice.1 = f32[1,4]{1,0} dynamic-slice(%a.3, %i.3, %i.3), dynamic_slice_sizes={1,4}
}

%steps (arg: (s32[], f32[4])) -> (s32[], f32[4]) {
  %arg = (s32[], f32[4]{0}) parameter(0)
  %one = s32[] constant(1)
  %i = s32[] get-tuple-element(%arg), index=0
  %x = f32[4]{0} get-tuple-element(%arg), index=1
  %loop_add_fusion.7 = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_add
  ROOT %tuple.1 = (s32[], f32[4]{0}) tuple(%i, %loop_add_fusion.7)
}

%body (arg.1: (s32[], f32[4])) -> (s32[], f32[4]) {
  %arg.1 = (s32[], f32[4]{0}) parameter(0)
  %while.1 = (s32[], f32[4]{0}) while(%arg.1), condition=%c, body=%steps, backend_config={"known_trip_count":{"n":"5"}}
  %j = s32[] get-tuple-element(%while.1), index=0
  %y = f32[4]{0} get-tuple-element(%while.1), index=1
  %fusion.12 = (bf16[4]{0}, f32[4]{0}) fusion(%y, %j), kind=kLoop, calls=%fused_add
  %half = bf16[4]{0} get-tuple-element(%fusion.12), index=0
  %products.3 = (f32[4]{0}, s8[33554432]{0}) custom-call(%half, %y), custom_call_target="__cublas$gemm"
  %table = f32[9,4]{1,0} constant({...})
  %row_fusion = f32[1,4]{1,0} fusion(%table, %j), kind=kLoop, calls=%fused_slice
  %table_fusion = f32[9,4]{1,0} fusion(%table, %j, %row_fusion), kind=kLoop, calls=%fused_update
  %conditional.1 = f32[4]{0} conditional(%j, %y, %y), branch_computations={%steps, %steps}
  ROOT %tuple.2 = (s32[], f32[4]{0}) tuple(%j, %conditional.1)
}

ENTRY %main (a: (s32[], f32[4])) -> (s32[], f32[4]) {
  %a = (s32[], f32[4]{0}) parameter(0)
  %copy.9 = (s32[], f32[4]{0}) copy(%a)
  ROOT %while.2 = (s32[], f32[4]{0}) while(%copy.9), condition=%c, body=%body
}
"""


def test_an_iteration_counts_what_its_loops_run():
    found = gpu_program.count(PROGRAM)
    own = {"loop_add_fusion": 5, "fusion": 1, "__cublas$gemm": 1}
    assert found.kernels == own | {"row_fusion": 1, "table_fusion": 1}
    assert found.loops == [("steps", 5)] and found.conditionals == 1
    # Five times 16 bytes in and out; 16 + 4 in and 8 + 16 out; 8 + 16 in and 16 out. Of the
    # table only a row is read (with its number), and written.
    assert found.bytes == 5 * 32 + 44 + 40 + (16 + 4 + 16) + (4 + 16 + 16)


def test_a_program_of_this_jax_is_read():
    def loop(x):
        return jax.lax.fori_loop(0, 7, lambda i, x: jnp.tanh(x @ x) + i, x)

    found = gpu_program.count(
        jax.jit(loop).lower(jnp.ones((64, 64))).compile().as_text()
    )
    assert found.kernels.total() > 0 and found.bytes >= 2 * 4 * 64 * 64


def test_what_has_no_loop_is_refused():
    with pytest.raises(ValueError, match="the program has no loop"):
        gpu_program.count(
            "ENTRY %main (a: f32[]) -> f32[] {\n  ROOT %b = f32[] add(%a, %a)\n}"
        )


def test_without_cuda_it_says_what_to_install(capsys, monkeypatch):
    def none(*_, **__):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(gpu_program.topologies, "get_topology_desc", none)
    assert gpu_program.main(["mult"]) == 2
    assert "pip install 'jax[cuda12]'" in capsys.readouterr().err


def test_a_step_in_tf32_has_no_other_products():
    """Those of an LSTM's backward pass are traced after the system's forward pass."""
    options = recipe.change(recipe.load("lf_dnn:mosi"), {"train.batch_size": 4})
    shape = Shape("mosi", (8, 5, 4), (6, 9, 7))
    spec, arrays, encoder = example("lf_dnn", shape, 8, None)
    model, (phase,) = build(options, spec, encoder), options.plan
    device, choice = jax.devices()[0], {"seeds": 1, "precision": "tf32"}
    with jax.default_matmul_precision("float32"):  # as a run
        text = gpu_program.lower(model, phase, arrays, device, **choice).as_text()
    assert text.count("stablehlo.dot_general") > 10
    assert "precision = [HIGH, HIGH]" in text and "HIGHEST" not in text
