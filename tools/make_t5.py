"""Makes the folder of a small T5 with random weights, for `unimse` where no pretrained one is at hand.

Its word pieces are learned from the texts of data sets; each value of their labels is a
piece of its own, so that every label can be written and read back.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers

import msajax
from msajax.data import universal
from msajax.encoders.t5 import T5Config
from msajax.encoders.t5_writer import T5Writer

_EXAMPLES = """examples:
  python tools/make_t5.py demo --out encoders/t5_demo
  python tools/make_t5.py mosi=MOSI-label.csv meld=MELD --out encoders/t5

Train it with
  msajax --config unimse:demo --workdir runs/unimse --config.text.encoder=encoders/t5_demo
"""
_SPECIAL = ("<pad>", "</s>", "<unk>")  # the ids 0, 1 and 2, as T5's


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data", nargs="+", help="data sets with texts, as DATASET=FILE, or demo"
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="folder to make"
    )
    parser.add_argument("--width", type=int, default=64, help="of the hidden states")
    parser.add_argument(
        "--layers", type=int, default=2, help="of encoder and decoder each"
    )
    parser.add_argument("--pieces", type=int, default=2000, help="at most, of texts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        named = [entry.partition("=")[::2] for entry in args.data]
        config = make(
            args.out,
            texts_of(named),
            values=values_of([name for name, _ in named]),
            size=(args.width, args.layers),
            pieces=args.pieces,
            seed=args.seed,
        )
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    print(
        f"{args.out}: T5 with random weights, {config.vocab_size} pieces, width "
        f"{config.d_model}, {config.num_layers} layers in encoder and decoder"
    )
    return 0


def texts_of(named: Sequence[tuple[str, str]]) -> list[str]:
    """The texts of the training rows of data sets.

    Args:
      named: (data set, file) of each.

    Raises:
      ValueError: a file cannot be read, or has no texts.
    """
    found: list[str] = []
    for name, path in named:
        corpus = msajax.load_data(path, dataset=name)
        split = corpus.splits.get("train") or next(iter(corpus.splits.values()))
        if split.raw_text is None:
            raise ValueError(
                f"{path or name} has no texts; give a file of {name} with transcripts"
            )
        found += split.raw_text.tolist()
    return found


def values_of(names: Sequence[str]) -> list[str]:
    """What labels of data sets are written with, each once."""
    fields = universal.fields(names).values()
    return [*dict.fromkeys([universal.SEPARATOR, *(v for own in fields for v in own)])]


def make(
    folder: pathlib.Path,
    texts: Sequence[str],
    *,
    values: Sequence[str],
    size: tuple[int, int],
    pieces: int = 2000,
    seed: int = 0,
) -> T5Config:
    """Makes the folder.

    Args:
      folder: to make.
      texts: to learn word pieces from.
      values: that have a piece of their own.
      size: width of the hidden states, and number of layers of each stack.
      pieces: most word pieces of texts.
      seed: of the weights.

    Raises:
      ValueError: the folder exists, or the sizes make no network.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists; give the path of a new folder")
    width, layers = size
    if width < 4 or width % 4 or layers < 1:
        raise ValueError(
            f"width {width} and {layers} layers make no network; give a width of 4, 8, "
            "12, ..., and 1 layer or more"
        )
    tokenizer = _tokenizer(texts, values, pieces)
    config = T5Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=width,
        d_kv=width // 4,
        d_ff=2 * width,
        num_heads=4,
        num_layers=layers,
        num_decoder_layers=layers,
    )
    writer, ids = T5Writer(config), jnp.zeros((1, 2), int)
    init: Any = jax.jit(
        lambda key: writer.init(key, ids, ids, mask=ids == 0, train=False)
    )
    made = writer.names().arrays(jax.device_get(init(jax.random.key(seed))))
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {"model_type": "t5", **dataclasses.asdict(config)}
    (folder / "config.json").write_text(json.dumps(facts, indent=1))
    facts = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    arrays = {name: np.ascontiguousarray(array) for name, array in made.items()}
    safetensors.numpy.save_file(arrays, folder / "model.safetensors")
    return config


def _tokenizer(
    texts: Sequence[str], values: Sequence[str], pieces: int
) -> tokenizers.Tokenizer:
    """Of T5's form: Unigram over words that begin with '▁'."""
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    learned = tokenizers.Tokenizer(models.Unigram())
    learned.pre_tokenizer = splitter
    trainer = trainers.UnigramTrainer(
        vocab_size=pieces,
        special_tokens=[*_SPECIAL],
        unk_token="<unk>",
        show_progress=False,
    )
    learned.train_from_iterator(texts, trainer)
    scores = dict(json.loads(learned.to_str())["model"]["vocab"])
    # The best score: a value is never cut into shorter pieces.
    scores |= {f"▁{value}": 0.0 for value in values}
    vocabulary = [(token, 0.0) for token in _SPECIAL]
    vocabulary += [(p, x) for p, x in scores.items() if p not in _SPECIAL]
    made = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=2))
    made.pre_tokenizer = splitter
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    made.add_special_tokens([*_SPECIAL])
    return made


if __name__ == "__main__":
    sys.exit(main())
