"""How many predictions of a system that writes labels are only a substitute (`Model.unread`)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msajax.train import feed

if TYPE_CHECKING:
    from msajax.run.run import Run


def counts(
    run: "Run", splits: Mapping[str, feed.Source], seeds: Sequence[int] = ()
) -> dict[str, Any]:
    """The rows of each seed whose text is no label, for the facts of results.

    Args:
      run: trained.
      splits: to count in.
      seeds: the recipe's, or some of them.

    Returns:
      {'unread': {split: [number]}}; {} of a system that has a prediction of every row.
    """
    output = run.model.unread
    if not output:
        return {}
    found = run.forward(splits, seeds=seeds, outputs={output: 0})
    return {
        "unread": {
            name: [round(float(rows[output].sum())) for rows in made.values()]
            for name, made in found.items()
        }
    }
