"""What a recipe may say of a system, read from the fields of its module."""

from msajax import models
from msajax.encoders.bert import BertConfig
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.xlnet import XLNetConfig
from msajax.run import model_options

BERT, MPNET, XLNET, NONE = BertConfig, MPNetConfig, XLNetConfig, type(None)

# The encoders that the systems take.
KINDS = {
    "almt": (BERT, MPNET, XLNET, NONE),
    "alr": (BERT, MPNET, XLNET, NONE),
    "bbfn": (BERT, NONE),
    "iml_cmm": (BERT, MPNET, XLNET, NONE),
    "mag_bert": (BERT,),
    "mag_xlnet": (XLNET,),
    "mfon": (BERT, NONE),
    "misa": (BERT, MPNET, XLNET, NONE),
    "mmim": (BERT, NONE),
    "msg_mba": (BERT, MPNET, XLNET, NONE),
    "self_mm": (BERT, MPNET, XLNET, NONE),
    "text_only": (BERT, MPNET, XLNET, NONE),
}


NO_ENCODER = ("av_mc", "cormult", "ef_lstm", "lf_dnn", "lmf", "mmlatch", "mult", "tfn")


def test_encoder_kinds_of_every_system():
    found = {name: model_options.encoder_kinds(name) for name in models.names()}
    wanted = KINDS | dict.fromkeys(NO_ENCODER, ())
    assert {name: found[name] for name in wanted} == wanted
    for name, kinds in found.items():  # of systems that are not listed here too
        assert bool(kinds) == ("encoder" in models.get(name).__dataclass_fields__)
