"""What a run starts with from another one (config.init_from)."""

import pathlib
import re
from collections.abc import Collection, Mapping

import jax
import numpy as np

from msajax import parallel
from msajax.run import pretrained, text, workdir
from msajax.run.options import Options, build
from msajax.run.run import Run
from msajax.train import step


def check(options: Options) -> None:
    """Refuses a recipe that trains the rest of another run's network, without that run."""
    if options.init_parameters != ".*" and not options.init_from:
        raise ValueError(
            f"this recipe starts from another run's {options.init_parameters}; name its "
            "workdir: config.init_from=DIR"
        )


def arrays(run: Run, seed: int) -> dict[str, np.ndarray]:
    """What a seed that has no checkpoint yet takes from another run (config.init_from).

    Returns:
      {path: array} of parameters and collections.

    Raises:
      ValueError: no such run or seed, not trained to its end, or nothing that fits.
    """
    options = run.options
    if not options.init_from or run.checkpoints(seed).numbers():
        return {}
    folder = pathlib.Path(options.init_from)
    if re.fullmatch(r"seed_\d+", folder.name):
        folder, name = folder.parent, folder.name
    else:
        name = f"seed_{seed}"
    known = sorted(path.name for path in folder.glob("seed_*"))
    if not known:
        raise ValueError(f"config.init_from: {folder} is not the folder of a run")
    if name not in known:
        raise ValueError(
            f"config.init_from: {folder} has no {name}, only {', '.join(known)}"
            f"; to start all seeds from one, name its folder: {folder}/seed_<n>"
        )
    theirs = _best(run, folder, name)
    shapes = step.shapes(run.model)
    ours = shapes.params | shapes.collections
    regex = options.init_parameters
    wanted = ours.keys() - text.drawn_anew(options, ours)
    same = {k: v.shape == ours[k].shape for k, v in theirs.items() if k in wanted}
    taken = {k: theirs[k] for k in same if re.fullmatch(regex, k)}
    wrong = sorted(k for k in taken if not same[k])
    if wrong or not taken:
        reason = (
            "; ".join(
                f"{path} is {taken[path].shape} there, {ours[path].shape} here"
                for path in wrong
            )
            or f"no array of it has a name of this recipe and matches {regex}"
        )
        advice = _fitting(same, {path.partition("/")[0] for path in shapes.collections})
        raise ValueError(
            f"{folder / name} does not fit this recipe: {reason}; choose what is taken "
            f"with config.init_parameters{advice}"
        )
    if seed == options.train.seeds[0]:
        _compare(run, folder)
    run.say(f"seed {seed}: {len(taken)} of {len(ours)} arrays from {folder / name}")
    return taken


def _best(run: Run, folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """The arrays that validation chose for a seed of a run."""
    options = workdir.load_options(folder)
    spec = workdir.load_spec(folder)
    model = build(options, spec, **pretrained.configs(options, folder, spec))
    like = parallel.replicate(step.blank(model), run.devices)
    home = workdir.checkpoints(folder, int(name.removeprefix("seed_")), run.say)
    found = home.restore(lambda _: {"best": like})
    if found is None or not found[0].finished:
        raise ValueError(
            f"config.init_from: {folder / name} is not trained to its end; run its "
            "training command again first"
        )
    if "best" not in found[1]:
        raise ValueError(
            f"config.init_from: {folder / name} has no best checkpoint: none of its "
            "validation figures was finite; take another run"
        )
    best = jax.device_get(found[1]["best"])
    # Adapters of another form, or for a network without any, count as part of the layers.
    if model.lora and model.lora != run.model.lora:
        return model.lora.merge(best.params) | best.collections
    return best.params | best.collections


def _fitting(same: Mapping[str, bool], collections: Collection[str]) -> str:
    """The option that takes the modules all of whose arrays fit, as an example; '' of none.

    Args:
      same: whether each array that is in both runs has the same shape.
      collections: names in front of the paths of arrays that are not parameters.
    """
    modules: dict[str, bool] = {}
    for path, fits in same.items():
        first, *rest = path.split("/")
        module = rest[0] if first in collections else first
        modules[module] = fits and modules.get(module, True)
    names = "|".join(sorted(name for name, fits in modules.items() if fits))
    if not names:
        return ""
    front = f"(({'|'.join(sorted(collections))})/)?" if collections else ""
    return f', for example --config.init_parameters="{front}({names})(/.*)?"'


def _compare(run: Run, folder: pathlib.Path) -> None:
    """Says what the other run's system has otherwise: names and shapes may fit all the same."""
    for key, there in workdir.load_options(folder).model.items():
        here = run.options.model.get(key, there)
        if here != there:
            run.say(f"note: config.model.{key} is {there} there, {here} here")
