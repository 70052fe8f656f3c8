import threading
import tracemalloc

import jax
import numpy as np
import pytest
import safetensors.numpy

from msajax.data.errors import DataError
from msajax.encoders import resnet
from msajax.media import network, video
from msajax.media.files import NoTrack
from tests.encoders.test_resnet import SMALL, STATE, VARIABLES
from tools import make_demo_clips

# Picture i is of brightness 20 i.
GREYS = 20 * np.arange(10)
PICTURES = np.broadcast_to(GREYS.astype(np.uint8)[:, None, None, None], (10, 32, 48, 3))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "a clip 你好.mp4"
    make_demo_clips.write(path, pictures=PICTURES, fps=10)
    return path


def brightness(path, **settings):
    found = list(video.pictures(path, size=16, **settings))
    return [int(round(picture.mean() / 20)) for picture in found]


@pytest.mark.parametrize(
    "rate,expected",
    [
        (10, list(range(10))),
        (5, [0, 2, 4, 6, 8]),
        (4, [0, 2, 5, 7]),  # at 0, 0.25, 0.5 and 0.75 s
        (20, [i // 2 for i in range(20)]),
        (0.5, [0]),
    ],
)
def test_pictures_that_are_shown_at_each_time(clip, rate, expected):
    assert brightness(clip, rate=rate) == expected


def test_shapes(clip):
    (first, *_) = video.pictures(clip, rate=1, size=16)
    assert first.shape == (16, 16, 3) and first.dtype == np.uint8
    (first, *_) = video.pictures(clip, rate=1, size=16, grey=True, margin=1.5)
    assert first.shape == (16, 16)


def test_frames_of_gigabytes_are_not_decoded(clip, monkeypatch):
    monkeypatch.setattr(video, "_PIXELS", 32 * 48 - 1)
    with pytest.raises(DataError, match="frames of 48 x 32 pixels; at most"):
        list(video.pictures(clip, rate=10, size=16))
    # FFmpeg counts whole blocks, so here it finds more than the file states.
    monkeypatch.setattr(video, "_PIXELS", 32 * 48)
    with pytest.raises(DataError, match="cannot be decoded"):
        list(video.pictures(clip, rate=10, size=16))


def test_the_middle_of_the_picture_is_cut_out(tmp_path):
    wide = np.zeros((1, 32, 64, 3), np.uint8)
    wide[:, :, 16:48] = 200
    make_demo_clips.write(tmp_path / "a.mp4", pictures=wide)
    (picture,) = video.pictures(tmp_path / "a.mp4", rate=10, size=32)  # 1 picture
    assert picture[:, 4:-4].min() > 180


def cut(path, *, front):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 64, 64, 3), np.uint8)
    make_demo_clips.write(path, pictures=noise)
    content = path.read_bytes()
    if not front:
        path.write_bytes(content[: len(content) // 2])
        return
    # The index in front of the pictures, as for the web, and the second half gone.
    import av

    with (
        av.open(str(path)) as source,
        av.open(
            str(path.with_name("b.mp4")), "w", options={"movflags": "faststart"}
        ) as to,
    ):
        stream = to.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                to.mux(packet)
    content = path.with_name("b.mp4").read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "write,message",
    [
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "zero length"),
        (lambda path: path.write_bytes(bytes(1000)), "truncated, damaged or no media"),
        (lambda path: cut(path, front=False), "truncated, damaged or no media"),
        (lambda path: cut(path, front=True), "truncated"),
        (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\na.ts\n"), "no media file"),
    ],
    ids=["folder", "empty", "zeros", "no index", "no end", "playlist"],
)
def test_bad_files(tmp_path, write, message):
    path = tmp_path / "a.mp4"
    write(path)
    with pytest.raises(DataError, match=message) as error:
        list(video.pictures(path, rate=10, size=16))
    assert str(path) in str(error.value)


def test_no_video_track(tmp_path):
    path = tmp_path / "a.mp4"
    make_demo_clips.write(path, sound=np.zeros(8000, np.float32))
    with pytest.raises(NoTrack, match="no video track, only audio"):
        list(video.pictures(path, rate=10, size=16))


def test_memory_does_not_grow_with_length(clip):
    tracemalloc.start()
    for _ in video.ahead(
        video.batches(video.pictures(clip, rate=2000, size=64), size=4)
    ):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60 * 64 * 64 * 3  # of 2000 pictures


def test_the_next_ones_are_made_while_one_is_used():
    made = [threading.Event() for _ in range(5)]

    def make():
        for event in made:
            event.set()
            yield event

    items = video.ahead(make(), depth=2)
    next(items)
    assert made[2].wait(timeout=10)  # in the thread: nobody asked for it yet
    assert not made[4].is_set()
    assert len(list(items)) == 4


def test_a_reader_that_stops_ends_the_thread_and_errors_come_through():
    before = threading.active_count()
    items = video.ahead(iter(range(100)))
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before

    def failing():
        yield 1
        raise DataError("bad")

    items = video.ahead(failing())
    assert next(items) == 1
    with pytest.raises(DataError, match="bad"):
        next(items)


def test_features_are_the_network_of_each_picture(tmp_path, clip):
    state = {name: np.ascontiguousarray(x) for name, x in STATE.items()}
    safetensors.numpy.save_file(state, tmp_path / "small.safetensors")
    net = network.PictureNetwork(tmp_path / "small.safetensors", batch=4)
    assert net.width == 12 and len(net.fingerprint) == 64
    pictures = list(video.pictures(clip, rate=10, size=32, margin=video.MARGIN))
    found = net(iter(pictures))
    run = jax.jit(lambda x: SMALL.apply(VARIABLES, resnet.normalize(x), train=False))
    seen = run(np.stack(pictures))
    assert found.shape == (10, 12)
    np.testing.assert_allclose(found, seen.pooled, rtol=2e-5)
    assert net(iter(())).shape == (0, 12)
