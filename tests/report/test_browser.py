"""The report in a browser: it fits a phone, and the console stays empty."""

import html
import re
import subprocess

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the report needs matplotlib: msajax[report]")

from msajax.report import charts
from msajax.report.page import Page
from tests import browser

_WATCHED = "--enable-logging=stderr --virtual-time-budget=2000 --window-size=800,900"
# Of phones that are sold; Chromium's own window has at least 500.
_PHONE = 360

pytestmark = browser.needed


def page():
    """A page with what reports have: links, wide tables, running text, pictures, lists."""
    made = Page("wide, a_second_run_with_a_long_name on CMU-MOSI", contents=True)
    for name in ("Results on test", "a_second_run_with_a_long_name", "Compared"):
        made.heading(name)
        cells = ["a_second_run_with_a_long_name", *["0.912 ± 0.034"] * 9]
        made.table([f"Acc-{i} has0" for i in range(10)], [cells])
        made.table(["id", "label", "text"], [["x" * 40, "1.0", "word " * 60]], texts=1)
        made.items([f"sha256: {'0' * 64}", "a fact: of words"])
        picture = charts.scatter(np.arange(3.0), np.arange(3.0))
        made.picture(charts.saved(picture, "png"), "predictions for test " * 5)
    return str(made)


def opened(text, tmp_path, *flags):
    """Opens a page at the width of a phone: what Chromium wrote, and its messages."""
    frame = f'<iframe style="border:0;width:{_PHONE}px;height:880px" srcdoc="{html.escape(text)}"></iframe>'
    script = (
        "<script>onload = () => { const e = document.querySelector('iframe')"
        ".contentDocument.documentElement; document.title = "
        "`width ${e.scrollWidth} of ${e.clientWidth}`; }</script>"
    )
    path = tmp_path / "phone.html"
    path.write_text(f"<!DOCTYPE html><title>-</title>{script}{frame}", "utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [browser.PROGRAM, *browser.FLAGS, *_WATCHED.split(), profile]
    done = subprocess.run(
        [*command, *flags, path.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def width(done):
    (found,) = re.findall(r"<title>width (\d+) of (\d+)</title>", done.stdout)
    return tuple(map(int, found))


def test_a_report_fits_a_phone(tmp_path):
    done = opened(page(), tmp_path, "--dump-dom")
    content, seen = width(done)  # without the bar at the side
    assert content == seen <= _PHONE
    assert "CONSOLE" not in done.stderr
    picture = tmp_path / "phone.png"
    opened(page(), tmp_path, f"--screenshot={picture}")
    assert picture.stat().st_size > 10_000


def test_what_is_too_wide_and_what_fails_is_found(tmp_path):
    text = page().replace("</body>", '<p style="width:700px">x<script>none()</script>')
    done = opened(text, tmp_path, "--dump-dom")
    assert width(done)[0] > _PHONE
    assert "CONSOLE" in done.stderr and "none is not defined" in done.stderr
