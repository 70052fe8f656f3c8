"""The run that a workdir holds, opened again to evaluate and predict."""

import pathlib
from collections.abc import Sequence

from rich.console import Console

from msajax.data import vocabulary
from msajax.data.spec import Corpus
from msajax.run import devices, recipe, saved, workdir
from msajax.run.options import Options
from msajax.run.run import Run, make

# Options that say what the network is and reads, and which rows it was trained on; but for
# where files are, how those of the data are read, and how the network runs.
_LEARNED = ("system", "model.", "text.", "audio.", "optimizer.lora_", "data.split")
_FREE = ("text.encoder", "audio.encoder", "text.raw", "text.words")
_FREE += ("model.remat", "model.scan")


def open_run(
    folder: pathlib.Path,
    name: str = "",
    pairs: Sequence[tuple[str, str]] = (),
    *,
    own: Corpus | None = None,
    console: Console | None = None,
) -> Run:
    """The run of a workdir.

    Args:
      folder: the workdir.
      name: a recipe that it must be of; empty takes the saved one.
      pairs: ('train.seeds', '1,2') values of the command line over the saved ones.
      own: the corpus that it was trained on, where that was no file.
      console: to print to; the terminal, where it is not given.

    Raises:
      ValueError: there is no run, or one of another recipe, or a file of it is damaged, or
        the pairs change what the network learned to read.
    """
    trained = workdir.load_options(folder)
    options = recipe.override(trained, pairs)
    _check_same(folder, trained, options)
    if options.parallel.coordinator or options.parallel.num_processes > 1:
        raise ValueError(
            "only training runs in several processes; leave config.parallel.coordinator "
            "and num_processes away"
        )
    if name and (changed := saved.differences(recipe.load(name, pairs), options)):
        raise ValueError(
            f"{folder} holds another run than {name}, with {'; '.join(changed)}; leave "
            "--config away to take the saved one"
        )
    devices.set_up(options)
    spec = workdir.load_spec(folder)
    words = vocabulary.read(folder) or ()
    if spec.vocabulary and vocabulary.size(words) != spec.vocabulary:
        raise ValueError(
            f"{folder} lacks the {vocabulary.FILE} that its run was trained with; delete "
            "what is there and run the training command again, which writes it"
        )
    return make(options, folder, spec, own=own, console=console)


def _check_same(folder: pathlib.Path, trained: Options, options: Options) -> None:
    """Refuses values with which the trained network would be another, or read something else."""
    changed = [
        line
        for line in saved.differences(options, trained)
        if line.startswith(_LEARNED) and not line.startswith(_FREE)
    ]
    if changed:
        raise ValueError(
            f"{folder} holds a network that was trained with other values: "
            f"{'; '.join(changed)}; leave them out, or train again with them"
        )
