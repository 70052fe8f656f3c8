"""Chromium without a window, told what to do through pipes (the DevTools protocol)."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next(filter(None, map(shutil.which, _NAMES)), None)
needed = pytest.mark.skipif(
    PROGRAM is None, reason=f"no browser: none of {', '.join(_NAMES)} is installed"
)
FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
    ),
    *("--no-first-run", "--disable-background-networking"),
    "--disable-component-update",
)
_PIPED = (
    *("--remote-debugging-pipe", "--mute-audio"),
    # A camera and a microphone that need no device and no permission.
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)


class Tab:
    """A page of the browser."""

    def __init__(self, send, receive):
        self._send, self._receive = send, receive
        self._numbers, self._rest = itertools.count(1), b""
        self._session = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": found["sessionId"]}

    def call(self, method, **parameters):
        """The result of a command."""
        number = next(self._numbers)
        told = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._send, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            part = os.read(self._receive, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def value(self, expression):
        """What an expression of JavaScript is."""
        found = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, expression, seconds=30):
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, (
                f"{expression}: {self.value('document.body.innerText')}"
            )
            time.sleep(0.05)

    def open(self, address, *, width, height):
        """A page on a screen of this size, as of a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2,
            mobile=True,
        )
        self.call("Page.navigate", url=address)
        self.wait(
            "document.readyState === 'complete' && location.href !== 'about:blank'"
        )

    def choose(self, selector, path):
        """Chooses a file in a field of the page."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node["nodeId"])

    def picture(self, path):
        """The whole page as a PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def tab(folder):
    """A tab of a browser that keeps its files in a folder."""
    ends = [*os.pipe(), *os.pipe()]
    # High numbers, so that 3 and 4 are free in the shell that names them.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in ends]
    for end in ends:
        os.close(end)
    theirs, ours, own, back = high
    command = [PROGRAM, *FLAGS, *_PIPED, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{back}', "bash", *command],
        pass_fds=(theirs, back),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    os.close(back)
    try:
        yield Tab(ours, own)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        os.close(ours)
        os.close(own)
