"""The page in a real browser, on the screen of a phone."""

import contextlib
import dataclasses
import functools
import socket
import threading
import time

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
import uvicorn

from msajax.serve import app, scoring, start
from tests import browser

pytestmark = [
    pytest.mark.slow,  # it starts Chromium
    browser.needed,
]
LIMITS = app.Limits(max_megabytes=5, max_seconds=20)
ABOUT = {
    "system": "toy",
    "dataset": "mosi",
    "seeds": 2,
    "modalities": ["text", "audio"],
}


@contextlib.contextmanager
def served(predictor, folder):
    """The address of the page."""
    scorer = scoring.Scorer(predictor, longest=LIMITS.max_seconds)
    application = app.make(scorer, ABOUT, folder=folder, limits=LIMITS)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = uvicorn.Config(application, **start.SERVER)
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


def shown(tab):
    return tab.value("document.body.innerText")


def fits(tab):
    return tab.value("document.documentElement.scrollWidth <= 390")


def classified(prediction, sample):
    """The prediction of a classification."""
    shares = {"angry": 0.75, "sad": 0.25}
    found = dataclasses.replace(prediction(sample), probabilities=shares)
    return dataclasses.replace(found, label="angry", score=0.75, without={"text": 0.5})


def test_the_page_on_a_phone(predictor, clip, tmp_path):
    (uploads := tmp_path / "uploads").mkdir()
    with (
        served(predictor, uploads) as address,
        browser.tab(tmp_path / "browser") as tab,
    ):
        tab.open(address, width=390, height=844)
        tab.wait("document.getElementById('limit').textContent !== ''")
        assert "toy on mosi, reads text, audio; the mean of 2 seeds" in shown(tab)
        assert fits(tab)

        # A file that is no video, then one that is.
        text = tmp_path / "a text.mp4"
        text.write_text("plain text")
        for path, word in ((text, "no media file"), (clip, "Scored in")):
            tab.choose("#file", path)
            tab.value(
                "document.getElementById('transcript').value = 'not bad <b>at all</b>.txt'"
            )
            tab.value("document.getElementById('score').click()")
            tab.wait(
                f"document.getElementById('status').textContent.includes('{word}')"
            )
        said = shown(tab)
        assert "not bad <b>at all</b>.txt" in said and "no number" in said
        for title in ("What each modality contributed", "The score over time"):
            assert title in said
        assert "Frames that were read" in said and "Spectrogram that was read" in said
        assert tab.value("document.querySelectorAll('#frames img').length") == 8
        tab.wait("[...document.images].every((image) => image.naturalWidth > 0)")
        assert fits(tab)
        tab.picture(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 20_000

        # What the browser records is a clip, too.
        tab.value("document.getElementById('record').click()")
        tab.wait("document.getElementById('hint').textContent.includes('left')")
        time.sleep(2)
        tab.value("document.getElementById('record').click()")
        tab.wait("document.getElementById('record').textContent === 'Record'")
        predictor.prediction = functools.partial(classified, predictor.prediction)
        tab.value("document.getElementById('score').click()")
        tab.wait("!document.getElementById('result').hidden")
        said = shown(tab)
        assert "angry (0.75)" in said and "Probabilities" in said
        assert tab.value("document.querySelectorAll('#classes rect').length") == 2
        assert fits(tab)

        # A clip that is too large is not sent.
        large = tmp_path / "large.mp4"
        large.write_bytes(bytes(5_000_001))
        tab.choose("#file", large)
        tab.value("document.getElementById('score').click()")
        tab.wait(
            "document.getElementById('status').textContent.includes('at most 5 MB')"
        )


def test_a_closed_tab_ends_the_work_and_deletes_the_clip(predictor, clip, tmp_path):
    reading, closed, read = threading.Event(), threading.Event(), predictor.read
    (uploads := tmp_path / "uploads").mkdir()

    def slow(*arguments, **keys):
        reading.set()
        closed.wait(20)
        return read(*arguments, **keys)

    predictor.read, predictor.score = slow, lambda _: pytest.fail("scored")
    with (
        served(predictor, uploads) as address,
        browser.tab(tmp_path / "browser") as tab,
    ):
        tab.open(address, width=390, height=844)
        tab.wait("document.getElementById('limit').textContent !== ''")
        tab.choose("#file", clip)
        tab.value("document.getElementById('score').click()")
        assert reading.wait(20) and [*uploads.iterdir()]
        tab.call("Page.navigate", url="about:blank")
        tab.wait("location.href === 'about:blank'")
        time.sleep(0.2)
        closed.set()
        end = time.monotonic() + 20
        while [*uploads.iterdir()]:
            assert time.monotonic() < end
            time.sleep(0.01)
