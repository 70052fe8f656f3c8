import tracemalloc

import librosa
import numpy as np
import pytest
import soundfile

from msajax.data.errors import DataError
from msajax.media import audio, settings
from msajax.media.files import NoTrack
from tools import make_demo_clips

RATE = 16_000
time = np.arange(RATE) / RATE
TONE = (0.3 * np.sin(2 * np.pi * 220 * time) * (1 + time)).astype(np.float32)


@pytest.mark.parametrize("subtype,tolerance", [("PCM_U8", 0.01), ("PCM_24", 1e-6)])
@pytest.mark.parametrize("name", ["a.wav", "with space/你好 é.wav"])
def test_a_file_at_its_own_rate(tmp_path, subtype, tolerance, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.stack([TONE, 0 * TONE], 1), RATE, subtype)
    wave = audio.read(path, rate=RATE)
    assert wave.dtype == np.float32
    np.testing.assert_allclose(wave, TONE / 2, atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 22_050, 96_000])
def test_rates_are_those_of_librosa(tmp_path, rate):
    path = tmp_path / "a.flac"
    soundfile.write(path, TONE, rate)
    wave = audio.read(path, rate=22_050)
    sound, _ = soundfile.read(path, dtype="float32")
    expected = librosa.resample(sound, orig_sr=rate, target_sr=22_050)
    assert len(wave) == len(expected)
    np.testing.assert_allclose(wave, expected, atol=2e-5)


def test_the_track_of_a_video(tmp_path):
    path = tmp_path / "你 好.mp4"
    pictures = np.zeros((10, 32, 32, 3), np.uint8)
    make_demo_clips.write(path, pictures=pictures, sound=np.stack([TONE, TONE], 1))
    wave = audio.read(path, rate=RATE)
    assert abs(len(wave) - RATE) <= 2048  # frames of AAC
    power = np.abs(np.fft.rfft(wave))
    assert np.argmax(power) * RATE / len(wave) == pytest.approx(220, abs=2)
    assert 0.3 < np.abs(wave).max() < 0.7


def test_mel_is_the_equations_of_cormult():
    s = settings.audio("mel:window=512,hop=200,bands=20,rate=16000")
    n = s.window
    x = np.pad(TONE, n // 2).astype(np.float64)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    starts = range(0, len(x) - n + 1, s.hop)
    k = np.arange(n // 2 + 1)
    # (1), of the half of the spectrum that is not its mirror image.
    transform = np.exp(-2j * np.pi * np.outer(np.arange(n), k) / n)
    stft = np.stack([(x[i : i + n] * hann) @ transform for i in starts])
    centres = librosa.mel_frequencies(22, fmin=0, fmax=8000)
    f, low, mid, high = k * 16_000 / n, centres[:-2], centres[1:-1], centres[2:]
    rise = (f - low[:, None]) / (mid - low)[:, None]
    fall = (high[:, None] - f) / (high - mid)[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))  # (2)
    expected = np.log(np.maximum(np.abs(stft) ** 2 @ filters.T, 1e-10))  # (3)
    found = audio.extract(TONE, s)
    assert found.shape == (81, 20) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore:n_fft")  # of the lowest notes
def test_values_are_those_of_librosa():
    y = librosa.resample(TONE, orig_sr=RATE, target_sr=22_050)
    plain = librosa.feature.mfcc(y=y, sr=22_050, n_mfcc=20)
    np.testing.assert_array_equal(audio.extract(y, settings.audio("mfcc")), plain.T)
    more = audio.extract(y, settings.audio("mfcc:deltas=2,coefficients=13"))
    assert more.shape == (len(plain.T), 39)
    second = librosa.feature.delta(plain[:13], order=2, mode="nearest")
    np.testing.assert_allclose(more[:, 26:], second.T, atol=1e-5)
    found = audio.extract(y, settings.audio("sims"))
    crossings = librosa.feature.zero_crossing_rate(y)
    chroma = librosa.feature.chroma_cqt(y=y, sr=22_050)
    expected = np.concatenate([plain, crossings, chroma]).T
    assert found.shape == (44, 33)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    pitch, energy, _ = audio.extract(y, settings.audio("prosody")).T
    np.testing.assert_allclose(energy, librosa.feature.rms(y=y)[0], atol=1e-6)
    assert np.median(pitch) == pytest.approx(220, abs=2)


@pytest.mark.parametrize("kind", ["mel", "sims", "prosody", "wave"])
@pytest.mark.parametrize("samples", [10, 22_050])
def test_silence_has_finite_features(kind, samples):
    wave = np.zeros(samples, np.float32)
    assert audio.is_silent(wave) and not audio.is_silent(TONE)
    found = audio.extract(wave, settings.audio(kind))
    assert np.isfinite(found).all() and len(found) >= 1
    if kind == "prosody":
        assert not found[:, :2].any()


def truncated(path):
    make_demo_clips.write(path, sound=np.tile(TONE, 3))
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    "write,message",
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.mkdir(), "is a folder, expected a media file"),
        (lambda path: path.write_bytes(b""), "zero length"),
        (lambda path: path.write_bytes(b"text" * 99), "truncated, damaged or no media"),
        (truncated, "truncated, damaged or no media"),
        (
            lambda path: soundfile.write(path, TONE[:0], 8000, format="WAV"),
            "without sam",
        ),
        (
            lambda path: soundfile.write(path, np.tile(TONE, 3), RATE, format="WAV"),
            "more than 2 s of sound",
        ),
        (
            lambda path: soundfile.write(
                path, TONE * np.nan, RATE, "FLOAT", format="WAV"
            ),
            "no numbers",
        ),
    ],
)
def test_bad_files(tmp_path, write, message):
    path = tmp_path / "a.mp4"
    write(path)
    with pytest.raises(DataError, match=message) as error:
        audio.read(path, rate=RATE, longest=2)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".mkv", ".avi"])
def test_half_of_a_file(tmp_path, suffix):
    """Decoders take what there is of most formats, without an error."""
    path, sound = tmp_path / f"a{suffix}", np.tile(TONE, 2)
    if suffix in (".mkv", ".avi"):
        make_demo_clips.write(path, sound=sound)
    else:
        soundfile.write(path, sound, RATE)
    assert len(audio.read(path, rate=RATE)) == pytest.approx(2 * RATE, rel=0.1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="truncated"):
        audio.read(path, rate=RATE)


def test_no_audio_track(tmp_path):
    path = tmp_path / "a.mp4"
    make_demo_clips.write(path, pictures=np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(NoTrack, match="no audio track, only video"):
        audio.read(path, rate=RATE)


def test_two_hours_take_the_memory_of_the_limit(tmp_path):
    path, seconds, rate = tmp_path / "a.wav", 7200, 8000
    soundfile.write(path, np.zeros(1), rate, "PCM_U8")
    header = bytearray(path.read_bytes()[:44])
    size = seconds * rate
    header[4:8], header[40:44] = (n.to_bytes(4, "little") for n in (size + 36, size))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(44 + size)  # a hole, which takes no disk
    assert soundfile.info(path).duration == seconds
    tracemalloc.start()
    with pytest.raises(DataError, match="more than 60 s of sound, the limit of a clip"):
        audio.read(path, rate=RATE, longest=60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * 4 * 60 * RATE
