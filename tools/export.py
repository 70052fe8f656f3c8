"""Writes a trained system as a folder that runs without msajax: program, parameters, loader."""

import argparse
import json
import pathlib
import shutil
import sys
from typing import Any

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import export
from safetensors.numpy import save

import msajax
from msajax.data.spec import FIELDS, MODALITIES, Spec
from msajax.run.run import Run
from msajax.train import evaluate

_EXAMPLES = """examples:
  python tools/export.py --workdir runs/mult --out exported
  python tools/export.py --workdir runs/mult --out exported --rows 32    # batches of 32 alone

The folder holds program.bin (the compiled form of jax.export, for processors and CUDA),
parameters.safetensors, facts.json and load.py, which needs jax, numpy and flatbuffers alone:
  python exported/load.py exported batch.npz
"""
PLATFORMS = ("cpu", "cuda")
# What tracing raises where a number of rows must be known.
_OF_ROWS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.InconclusiveDimensionOperation,
)
_LOADER = pathlib.Path(__file__).with_name("exported") / "loader.py"


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--workdir", required=True, type=pathlib.Path, help="of a finished run")
    add("--out", required=True, type=pathlib.Path, help="folder to write, new or empty")
    add("--seed", type=int, help="default: the first of the run")
    add("--rows", type=int, default=0, help="rows of a batch; default: any number")
    args = parser.parse_args(argv)
    try:
        if args.rows < 0:
            raise ValueError(f"--rows is {args.rows}; give a number above 0")
        if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
            raise ValueError(f"--out {args.out} is there and not an empty folder")
        run = msajax.open_run(args.workdir)
        seeds = run.options.train.seeds
        seed = seeds[0] if args.seed is None else args.seed
        if seed not in seeds:
            shown = ", ".join(map(str, seeds))
            raise ValueError(
                f"--seed is {seed}, but {args.workdir} has the seeds {shown}"
            )
        size = write(run, args.out, seed=seed, rows=args.rows)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    print(
        f"{args.out}: {size / 1e6:.1f} MB, seed {seed}; {args.out / 'load.py'} runs it"
    )
    return 0


def write(run: Run, out: pathlib.Path, *, seed: int, rows: int = 0) -> int:
    """Writes a seed's best checkpoint.

    Args:
      run: trained to its end.
      out: the folder, made where missing.
      seed: one of the run's.
      rows: of a batch; 0 for any number.

    Returns:
      Bytes written.

    Raises:
      ValueError: the system computes with the number of rows, which must be given.
    """
    params = {f"params/{k}": x for k, x in run.parameters(seed).items()}
    found = params | run.collections(seed)
    variables = {k: np.ascontiguousarray(x) for k, x in found.items()}
    fields = fields_of(run.spec)
    try:
        made = exported(run, variables, fields, rows)
    except (TypeError, *_OF_ROWS) as error:
        if rows:
            raise
        reason = (str(error).splitlines() or ["?"])[0]
        raise ValueError(
            f"{run.options.system} computes with the number of rows ({reason[:120]}); give "
            "it: --rows 32"
        ) from error
    facts = {
        "system": run.options.system,
        "dataset": run.options.data.dataset,
        "seed": seed,
        "classes": run.spec.classes,
        "label_range": run.spec.label_range,
        "rows": rows,
        "fields": fields,
        "msajax": msajax.__version__,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "program.bin").write_bytes(made.serialize())
    # As the other files: save_file lets only the owner read what it writes.
    (out / "parameters.safetensors").write_bytes(save(variables))
    (out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    shutil.copyfile(_LOADER, out / "load.py")
    return sum(path.stat().st_size for path in out.iterdir())


def fields_of(spec: Spec) -> dict[str, tuple[tuple[int, ...], str]]:
    """{field: (shape after the rows, dtype)} of what a prediction reads: no labels."""
    return {
        name: (spec.shape(name), FIELDS[name].dtype)
        for name in (*spec.fields, *(f"{m}_mask" for m in MODALITIES))
        if not name.startswith("label") and name != "index"
    }


def exported(
    run: Run,
    variables: dict[str, np.ndarray],
    fields: dict[str, tuple[tuple[int, ...], str]],
    rows: int,
) -> export.Exported:
    """The program (variables, batch) -> {'pred'; of a system that writes labels also 'unread'}, float32."""
    method = run.options.plan[-1].predict
    model = run.model.clone(lora=None)  # its parameters are merged

    def predict(variables: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        out = evaluate.apply(
            model,
            traverse_util.unflatten_dict(variables, sep="/"),
            batch | {"index": jnp.zeros(batch["valid"].shape, jnp.int32)},
            run.precision,
            train=False,
            method=method,
        )
        found = {"pred": out["pred"]}
        if model.unread:
            found["unread"] = out[model.unread]
        return {k: x.astype(jnp.float32) for k, x in found.items()}

    (size,) = (rows,) if rows else export.symbolic_shape("rows")
    batch = {
        name: jax.ShapeDtypeStruct((size, *shape), dtype)
        for name, (shape, dtype) in fields.items()
    }
    like = {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in variables.items()}
    return export.export(jax.jit(predict), platforms=PLATFORMS)(like, batch)


if __name__ == "__main__":
    sys.exit(main())
