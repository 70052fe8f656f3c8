import dataclasses
import os
import pathlib
import signal
import types

import numpy as np
import pytest

from msajax.data import clean, read
from msajax.data.errors import DataError
from msajax.data.formats import label_csv
from msajax.data.formats.decode import Decoder
from msajax.media import clips, corpus, files, packed, settings
from tests.media.test_video import cut
from tools import extract_features, make_demo_clips

rng = np.random.default_rng(0)
RATE = 8000
SOUND = (0.1 * rng.normal(size=2 * RATE)).astype(np.float32)
PICTURES = rng.integers(0, 256, (10, 32, 32, 3), np.uint8)
FEATURES = settings.MediaFeatures(
    settings.audio("wave:rate=2000"), settings.vision("grey:rate=5,size=4")
)
BAD = {
    "cut": "truncated",
    "gone": "there is no file",
    "empty": "zero length",
    "folder": "there is no file",
}


class Deadly(pathlib.PosixPath):
    """A folder of clips, one of which ends the process that looks for it."""

    def __truediv__(self, name):
        if name == "deadly":
            os._exit(7)
        return super().__truediv__(name)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media dir 你好")
    video = folder / "v"
    video.mkdir()
    shape = dict(fps=10, rate=RATE)
    make_demo_clips.write(
        video / "1.mp4", pictures=PICTURES, sound=SOUND[:RATE], **shape
    )
    make_demo_clips.write(video / "二 2.mp4", pictures=PICTURES, sound=SOUND, **shape)
    make_demo_clips.write(video / "mute.mp4", pictures=PICTURES, **shape)
    make_demo_clips.write(video / "blind.mp4", sound=SOUND[:RATE], rate=RATE)
    silence = np.zeros(RATE, np.float32)
    make_demo_clips.write(
        video / "quiet.mkv", pictures=PICTURES[:1], sound=silence, **shape
    )
    cut(video / "cut.mp4", front=False)
    (video / "empty.mp4").touch()
    (video / "folder.mp4").mkdir()
    return folder


GOOD = ["1", "二 2", "mute", "blind", "quiet"]


def labels(folder, names):
    rows = [f"v,{name},text of {name},0.5,{mode}" for name, mode in names]
    path = folder / "label.csv"
    path.write_text("\n".join(["video_id,clip_id,text,label,mode", *rows]), "utf-8")
    return path


def job(tmp_path, media, **changes):
    given = dict(settings=FEATURES, media=media, done=tmp_path / "done") | changes
    return corpus.Job(**given)


def run(job, names, workers=0):
    ids = [f"v$_${name}" for name in names]
    return corpus.run(job, ids, workers=workers, told=lambda: None)


def test_bad_clips_are_listed_and_the_others_written(tmp_path, media, capsys):
    modes = ["train", "valid", "test"] * 5
    path = labels(tmp_path, zip([*GOOD, *BAD], modes, strict=False))
    options = [
        "--labels",
        path,
        "--media",
        media,
        "--out",
        tmp_path / "out",
        "--workers",
        0,
    ]
    kinds = ["--audio", "wave:rate=2000", "--vision", "grey:rate=5,size=4"]
    assert extract_features.main([*map(str, options), *kinds]) == 0
    printed = capsys.readouterr()
    assert "5 of 9 clips are extracted" in printed.out
    for name, message in BAD.items():
        (line,) = (x for x in printed.err.splitlines() if f"v$_${name}: " in x)
        assert message in line
    for name, note in (
        ("mute", "no audio track: the modality is missing"),
        ("blind", "no video track: the modality is missing"),
        ("quiet", "the audio is silent"),
    ):
        assert f"note: v$_${name}: {note}" in printed.out
    assert packed.settings_of(tmp_path / "out.npz") == FEATURES
    found = clean.clean(read.read(tmp_path / "out.npz", dataset="mosi"))
    assert {name: len(split) for name, split in found.splits.items()} == {
        **{"train": 2, "valid": 2, "test": 1}
    }
    train, valid = found.splits["train"], found.splits["valid"]
    assert train.ids.tolist() == ["v$_$1", "v$_$blind"]
    assert valid.raw_text.tolist() == ["text of 二 2", "text of quiet"]
    assert train.arrays["vision_mask"].sum(axis=1).tolist() == [5, 0]
    # The second is a video of one picture.
    assert valid.arrays["vision_mask"].sum(axis=1).tolist() == [5, 1]
    assert not found.splits["test"].arrays["audio_mask"].any()
    expected = clips.extract(media / "v" / "1.mp4", FEATURES)
    length = len(expected.audio)
    np.testing.assert_array_equal(train.arrays["audio"][0, :length], expected.audio)
    assert train.arrays["audio_mask"][0].sum() == length
    assert (tmp_path / "out.clips").is_dir()  # for the next try


def test_finished_clips_are_not_done_again(tmp_path, media, monkeypatch):
    done = []
    extract = clips.extract

    def counted(path, *args, **kwargs):
        done.append(path.stem)
        return extract(path, *args, **kwargs)

    monkeypatch.setattr(clips, "extract", counted)
    first = job(tmp_path, media)
    assert not run(first, ["1"])
    assert not run(first, ["1", "mute"])
    assert done == ["1", "mute"]
    os.utime(media / "v" / "1.mp4", (0, 0))  # another file
    half = corpus.file_of(first, "v$_$mute")
    half.write_bytes(half.read_bytes()[:50])
    assert not run(first, ["1", "mute"])
    assert done == ["1", "mute"] * 2
    other = settings.MediaFeatures(FEATURES.audio, None)
    with pytest.raises(DataError, match="has clips with other settings"):
        run(job(tmp_path, media, settings=other), ["1"])


def test_features_per_word(tmp_path, media):
    times = tmp_path / "times"
    (times / "v").mkdir(parents=True)
    text = "word,start,end\nit,0,0.4\nis,0.4,0.8\n"
    (times / "v" / "1.csv").write_text(text)
    aligned = dataclasses.replace(FEATURES, per_word=True)
    with_times = job(tmp_path, media, settings=aligned, word_times=times)
    failed = run(with_times, ["1", "mute"])
    assert failed.keys() == {"v$_$mute"} and "mute.csv" in failed["v$_$mute"]
    whole = clips.extract(media / "v" / "1.mp4", FEATURES)
    with np.load(corpus.file_of(with_times, "v$_$1")) as arrays:
        assert arrays["audio"].shape == (2, 1) and arrays["vision"].shape == (2, 16)
        np.testing.assert_allclose(arrays["vision"][1], whole.vision[2:4].mean(axis=0))
        expected = whole.audio[800:1600].mean()
        np.testing.assert_allclose(arrays["audio"][1, 0], expected, atol=1e-6)
    with pytest.raises(ValueError, match="are one for each step in time, but those of"):
        settings.check_same(aligned, FEATURES)


@pytest.mark.slow
def test_a_clip_that_ends_its_process_is_left_out(tmp_path, media):
    names = ["1", "mute", "deadly", "quiet", "gone", "blind"]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        found = run(job(tmp_path, Deadly(media)), names, workers=2)
        mask = signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        assert signal.SIGTERM in mask  # the thread that hears it is another one
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert found.keys() == {"v$_$deadly", "v$_$gone"}
    assert found["v$_$deadly"] == "it ended the process that read it"


def test_lengths(tmp_path, media):
    """Mean + 3 std, at most the longest; modalities that a clip lacks do not count."""
    shared = job(tmp_path, media)
    corpus.start(shared)
    names = [f"v$_${i}" for i in range(22)]
    lengths = [*[10] * 20, 60, 0]
    for name, length in zip(names, lengths, strict=True):
        values = np.ones((length, 2 if length else 0), np.float32)
        with corpus.file_of(shared, name).open("wb") as file:
            np.savez(file, audio=values, vision=values[:3], notes=np.array([], "U1"))
    path = labels(tmp_path, ((i, "train") for i in range(22)))
    rows = label_csv.read(path, dataset="mosi", decoder=Decoder())
    result = packed.pack(shared, rows, tmp_path / "a.npz", failed={names[3]})
    real = np.array([10] * 19 + [60])
    steps = int(real.mean() + 3 * real.std())
    assert result.shapes == {"audio": (21, steps, 2), "vision": (21, 3, 2)}
    assert result.cut == {"audio": 1, "vision": 0} and 10 < steps < 60
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["audio_length"].tolist() == [10] * 19 + [steps, 0]
        assert arrays["audio"].sum() == 2 * (190 + steps)
    values = np.ones((3, 5), np.float32)
    with corpus.file_of(shared, names[7]).open("wb") as file:
        np.savez(file, audio=values, vision=values, notes=np.array([], "U1"))
    with pytest.raises(
        DataError, match=r"audio .* different widths: 2 .*, 5 \(v\$_\$7\)"
    ):
        packed.pack(shared, rows, tmp_path / "a.npz")


def test_standardized_features_have_mean_0_over_the_training_split(tmp_path, media):
    shared = job(tmp_path, media)
    corpus.start(shared)
    names = [f"v$_${i}" for i in range(6)]
    values = [rng.normal(5, 3, (4 + i, 2)).astype(np.float32) for i in range(6)]
    for x in values:
        x[:, 1] = 7  # a feature that is constant
    values[2] = np.zeros((0, 0), np.float32)  # a clip without the modality
    for name, x in zip(names, values, strict=True):
        with corpus.file_of(shared, name).open("wb") as file:
            np.savez(file, audio=x, vision=x, notes=np.array([], "U1"))
    path = labels(tmp_path, ((i, "train" if i < 5 else "test") for i in range(6)))
    rows = label_csv.read(path, dataset="mosi", decoder=Decoder())
    packed.pack(shared, rows, tmp_path / "a.npz", standardize=True)
    found = packed.settings_of(tmp_path / "a.npz")
    train = np.concatenate([values[i] for i in (0, 1, 3, 4)])
    np.testing.assert_allclose(found.standard["audio"].mean, [train[:, 0].mean(), 7])
    np.testing.assert_allclose(found.standard["audio"].std, [train[:, 0].std(), 1])
    with np.load(tmp_path / "a.npz") as arrays:
        steps = arrays["audio_length"].tolist()
        assert steps[2] == 0 and not arrays["audio"][2].any()
        for i in (0, 5):  # a row of the test split by the same numbers
            expected = found.standard["audio"](values[i])[: steps[i]]
            np.testing.assert_allclose(arrays["audio"][i, : steps[i]], expected)
            assert not arrays["audio"][i, steps[i] :].any()
    only = label_csv.read(
        labels(tmp_path, [(0, "test")]), dataset="mosi", decoder=Decoder()
    )
    with pytest.raises(
        DataError, match="no clip that could be read has the mode train"
    ):
        packed.pack(shared, only, tmp_path / "b.npz", standardize=True)


@pytest.mark.parametrize(
    "name", ["../x$_$1", "/etc$_$passwd", "v", "v$_$../1", "v$_$a/1", "v$_$.."]
)
def test_ids_stay_in_the_folder(media, name):
    with pytest.raises(DataError, match="is no id of a clip"):
        corpus.find(media, name)


def test_the_folder_of_the_clips_may_be_any(media, monkeypatch):
    (media / "below").mkdir(exist_ok=True)
    monkeypatch.chdir(media / "below")
    assert corpus.find(pathlib.Path(".."), "v$_$1") == pathlib.Path("../v/1.mp4")


def test_an_unforeseen_error_leaves_one_clip_out(tmp_path, media, monkeypatch):
    def broken(*args, **options):
        raise AttributeError("'AudioStream' object has no attribute 'rate'")

    monkeypatch.setattr(clips, "extract", broken)
    job = corpus.Job(FEATURES, media, tmp_path)
    why = corpus.work(job, "v$_$1")
    assert "1.mp4 cannot be read: AttributeError: 'AudioStream' object" in why


def test_a_track_without_a_decoder_is_refused():
    stream = types.SimpleNamespace(type="audio", disposition="", codec_context=None)
    container = types.SimpleNamespace(streams=[stream])
    with pytest.raises(DataError, match="no decoder for the audio track of clip.mp4"):
        files.track(container, "audio", "clip.mp4")


@pytest.mark.parametrize(
    "options,message",
    [
        ("--labels {}/none.csv", "does not exist; give the path of a label.csv"),
        ("--labels {}", "is a folder; give"),
        ("--media {}/label.csv", "is no folder; give that of the clips"),
        ("--audio none --vision none", "are both none"),
        ("--vision resnet50", "features resnet50 need --weights"),
        ("--weights a.pth", "features grey do not read --weights"),
        ("--vision openface", "features openface need --vision-files"),
        ("--audio mell", 'did you mean "mel"'),
        ("--dataset mosy", 'unknown dataset "mosy"; did you mean "mosi"'),
        ("--workers -1", "--workers is -1"),
        ("--longest nan", "--longest nan; give"),
        ("--out .", "--out . is a folder; name a file"),
        ("--word-times {}/none", "none is no folder; give that of the files"),
        ("", '1 ids more than once, the first is "v$_$1"'),
    ],
)
def test_wrong_options(tmp_path, options, message, capsys):
    labels(tmp_path, [("1", "train"), ("1", "test")])
    assert message in refused(tmp_path, options.format(tmp_path), capsys)


def test_settings_that_librosa_refuses(tmp_path, capsys):
    labels(tmp_path, [("1", "train"), ("2", "test")])
    said = refused(tmp_path, "--audio prosody:window=256", capsys)
    assert "librosa refuses the features prosody (rate=22050" in said


def refused(folder, options, capsys):
    """What the tool says of a corpus and options that it refuses."""
    given = ["--labels", str(folder / "label.csv"), "--media", str(folder)]
    given += ["--out", str(folder / "o"), *options.split()]
    assert extract_features.main(given) == 1
    return capsys.readouterr().err
