"""T5 of Hugging Face's transformers, with or without its decoder."""

from collections.abc import Iterator
from typing import Any

from msajax.weights.table import Rule, Table, copy, reverse

# Copies of the table of words, and a table of the cross-attention that nothing reads.
_UNUSED = (
    r"(.*\.)?(encoder|decoder)\.embed_tokens\.weight",
    r"(.*\.)?decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)
# What an encoder leaves in a file of the whole network, in PyTorch's and Flax's names.
_REST = r"(.*[./])?(decoder[./].*|lm_head[./](weight|kernel))"

# Our blocks and those of transformers, in the order of a layer.
_ATTENTION = ("attention", "SelfAttention")
_CROSS = ("cross_attention", "EncDecAttention")
_FEED_FORWARD = ("feed_forward", "DenseReluDense")


def _stack(
    config: Any, side: str, layers: int, blocks: tuple[tuple[str, str], ...]
) -> Iterator[Rule]:
    """Rules of the encoder or of the decoder."""
    first = ("wi_0", "wi_1") if config.gated else ("wi",)
    yield copy(
        f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        f"params/{side}/relative_attention_bias/embedding",
    )
    for i in range(layers):
        for k, (ours, theirs) in enumerate(blocks):
            source, leaf = (
                f"{side}.block.{i}.layer.{k}",
                f"params/{side}/layer/{i}/{ours}",
            )
            yield _norm(f"{source}.layer_norm", f"{leaf}/layer_norm")
            names = (*first, "wo") if ours == "feed_forward" else "qkvo"
            for name in names:
                yield reverse(
                    f"{source}.{theirs}.{name}.weight", f"{leaf}/{name}/kernel"
                )
    yield _norm(f"{side}.final_layer_norm", f"params/{side}/final_layer_norm")


def _norm(torch: str, ours: str) -> Rule:
    return copy(f"{torch}.weight", f"{ours}/scale")


def _flax(rule: Rule) -> str:
    """The path of a rule's leaf in a Flax T5 of transformers."""
    module = rule.names[0].removesuffix(".weight").replace(".", "/")
    kind = rule.leaf.rpartition("/")[2]
    return f"{module}/{'weight' if kind == 'scale' else kind}"


def table(encoder: Any) -> Table:
    """The names in a T5EncoderModel; a `T5Writer`'s in a T5ForConditionalGeneration."""
    config, whole = encoder.config, hasattr(encoder, "write")
    rules = [copy("shared.weight", "params/word_embedding/embedding")]
    rules += _stack(config, "encoder", config.num_layers, (_ATTENTION, _FEED_FORWARD))
    unused = _UNUSED
    if whole:
        blocks = (_ATTENTION, _CROSS, _FEED_FORWARD)
        rules += _stack(config, "decoder", config.num_decoder_layers, blocks)
        if config.tie_word_embeddings:
            unused = (*unused, r"(.*\.)?lm_head\.weight")
        else:
            rules.append(reverse("lm_head.weight", "params/lm_head/kernel"))
    return Table(
        rules=tuple(rules),
        ignored=unused if whole else (*unused, _REST),
        flax={rule.leaf: _flax(rule) for rule in rules},
    )
