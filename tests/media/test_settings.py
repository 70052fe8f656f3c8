import dataclasses

import pytest

from msajax.data.errors import DataError
from msajax.media import settings
from msajax.media.settings import AudioFeatures, MediaFeatures, VisionFeatures

MEL = settings.audio("mel:bands=64,rate=16000")
FACES = settings.vision("resnet50:rate=2.5")


def test_texts():
    assert MEL == AudioFeatures("mel", rate=16_000, bands=64)
    assert settings.audio("wave").rate == 16_000
    assert VisionFeatures("resnet50", rate=2.5, size=224) == FACES
    assert settings.audio("mel").seconds == pytest.approx(512 / 22_050)
    assert settings.audio("wave").seconds == 1 / 16_000


@pytest.mark.parametrize(
    "text,message",
    [
        ("mell", 'no features "mell"; did you mean "mel"'),
        ("mel:bands", '"bands" of "mel:bands" sets nothing; write mel:key=value'),
        ("mel:band=3", 'no setting "band"; did you mean "bands"'),
        ("mel:bands=many", "\"bands\" is 'many'"),
        ("mel:bands=0", "greater than or equal to 1"),
        ("wave:rate=10", "greater than or equal to 1000"),
        (
            "mel:coefficients=3",
            'mel do not read "coefficients", only rate, window, hop',
        ),
        ("mfcc:coefficients=200", "128 mel bands have no 200 coefficients"),
    ],
)
def test_wrong_audio(text, message):
    with pytest.raises(ValueError, match=message):
        settings.audio(text)


def test_wrong_vision():
    with pytest.raises(ValueError, match="rate and size are 0 and 16; both must be"):
        settings.vision("grey:rate=0")


def test_they_are_saved_and_compared():
    both = MediaFeatures(MEL, FACES)
    assert settings.of_json(both.to_json(), name="x") == both
    settings.check_same(both, settings.of_json(both.to_json(), name="x"))
    other = dataclasses.replace(both, audio=dataclasses.replace(MEL, hop=256))
    with pytest.raises(ValueError, match=r"audio .*hop=256.*trained on mel .*hop=512"):
        settings.check_same(both, other)
    with pytest.raises(
        ValueError, match=r"vision features are none, .*resnet50 \(rate"
    ):
        settings.check_same(both, MediaFeatures(MEL, None))
    with pytest.raises(DataError, match='settings.json: "audio.kind" is .*extract'):
        settings.of_json('{"audio": {"kind": "x"}}', name="settings.json")
