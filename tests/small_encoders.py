"""Folders of small random encoders with tokenizers of their own, and texts for them."""

import json

import tokenizers
import transformers
from tokenizers import models, pre_tokenizers, processors

from tests.encoders.checkpoints import Checkpoint, write

CHINESE = ("我很高兴看到这部电影。", "这电影不好看", "他说得很好，我同意", "天气不错")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_XLNET = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
_T5 = ("<pad>", "</s>", "<unk>")
_PIECES = ("▁", "▁a", "▁lot", "▁of", "▁fun", "ny", "s", "▁not", "!")
XLNET_PIECES = (*_XLNET, *_PIECES)


def bert(folder, sentences=CHINESE, **changes):
    """A BERT whose WordPiece vocabulary is trained on sentences: of Chinese, its characters."""
    trained = tokenizers.BertWordPieceTokenizer()
    trained.train_from_iterator(
        sentences, min_frequency=1, special_tokens=list(_SPECIAL), show_progress=False
    )
    size = {"vocab_size": trained.get_vocab_size(), "max_position_embeddings": 20}
    made = Checkpoint("bert", **size, **changes)
    write(folder, made.facts, state=made.state)
    trained.save_model(str(folder))
    facts = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return made


def xlnet(folder):
    """An XLNet with a vocabulary of a few English pieces."""
    vocabulary = [*((piece, 0.0) for piece in _XLNET), *((p, -2.0) for p in _PIECES)]
    made = Checkpoint("xlnet", vocab_size=len(vocabulary))
    write(folder, made.facts, state=made.state)
    transformers.XLNetTokenizer(vocab=vocabulary).save_pretrained(folder)
    return made


def t5(folder):
    """A T5's encoder with a vocabulary of a few English pieces, and a tokenizer.json of T5's form."""
    vocabulary = [*((token, 0.0) for token in _T5), *((p, -2.0) for p in _PIECES)]
    made = Checkpoint("t5", vocab_size=len(vocabulary))
    write(folder, made.facts, state=made.state)
    file = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=2))
    file.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    file.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    file.add_special_tokens([*_T5])
    file.save(str(folder / "tokenizer.json"))
    facts = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return made
