"""What a recipe may say of a system, read from the fields of its module."""

import typing

import pytest

from msajax import models
from msajax.encoders import Encoder
from msajax.encoders.xlnet import XLNetConfig
from msajax.run import model_options, recipe

XLNET, NONE = XLNetConfig, type(None)
# Another encoder changes no system, and these are read from the one list of them.
ANY = (*typing.get_args(Encoder), NONE)

# The encoders that the systems take.
KINDS = {
    "almt": ANY,
    "alr": ANY,
    "bbfn": ANY,
    "iml_cmm": ANY,
    "mag_bert": typing.get_args(Encoder),
    "mag_xlnet": (XLNET,),
    "mfon": ANY,
    "misa": ANY,
    "mmim": ANY,
    "msg_mba": ANY,
    "self_mm": ANY,
    "text_only": ANY,
}


NO_ENCODER = ("av_mc", "cormult", "ef_lstm", "lf_dnn", "lmf", "mmlatch", "mult", "tfn")


def test_encoder_kinds_of_every_system():
    found = {name: model_options.encoder_kinds(name) for name in models.names()}
    wanted = KINDS | dict.fromkeys(NO_ENCODER, ())
    assert {name: found[name] for name in wanted} == wanted
    for name, kinds in found.items():  # of systems that are not listed here too
        assert bool(kinds) == ("encoder" in models.get(name).__dataclass_fields__)


@pytest.mark.parametrize(
    "changes", [{"data.lengths": (9, 9, 9)}, {"data.truncate": True}]
)
def test_lengths_are_refused_where_the_steps_are_turns(changes):
    (name,) = (key.partition(".")[2] for key in changes)
    message = f"data.{name} is .*bc_lstm reads dialogues, turn by turn.*leave it out"
    with pytest.raises(ValueError, match=message):
        recipe.change(recipe.load("bc_lstm:dialogue_demo"), changes)
    recipe.change(recipe.load("lf_dnn:demo"), changes)
