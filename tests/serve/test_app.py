"""The server of the page: what it takes, refuses and deletes."""

import asyncio
import threading

import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")
from starlette.testclient import TestClient

from msajax.data.errors import DataError
from msajax.serve import app, page

LIMITS = app.Limits(max_megabytes=0.001, max_seconds=5)
ABOUT = {"system": "toy", "modalities": ["text"]}


@pytest.fixture
def make(tmp_path):
    """The application; the folder of the clips is empty again after the test."""
    keys = dict(about=ABOUT, folder=tmp_path, limits=LIMITS)
    yield lambda score, **more: app.make(score, **keys, **more)
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def client(make):
    def client(score=lambda clip, said, check: {}, **keys):
        return TestClient(
            make(score, **keys),
            base_url="http://127.0.0.1:8000",
            raise_server_exceptions=False,
        )

    return client


def scope(headers=()):
    return {
        "type": "http",
        "method": "POST",
        "path": "/score",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
    }


async def call(application, *messages, headers=()):
    """The messages that the application sends after these; then the visitor waits."""
    queue, sent = list(messages), []

    async def receive():
        while not queue:
            await asyncio.sleep(3600)
        message = queue.pop(0)
        return await message() if callable(message) else message

    async def send(message):
        sent.append(message)

    await application(scope(headers), receive, send)
    return sent


BODY = {"type": "http.request", "body": b"clip", "more_body": False}
GONE = {"type": "http.disconnect"}


def test_the_clip_and_the_words_arrive_in_files_of_our_own(client, tmp_path):
    seen = []

    def score(clip, said, check):
        check()
        seen.append((clip.read_bytes(), said.read_text("utf-8")))
        assert clip.parent.parent == tmp_path
        return {"score": 1.5}

    answer = client(score).post(
        "/score", params={"transcript": " /etc/secret.txt 很好 "}, content=b"clip"
    )
    assert answer.status_code == 200 and answer.json() == {"score": 1.5}
    assert seen == [(b"clip", "/etc/secret.txt 很好")]


def test_without_words_there_is_no_transcript(client):
    answer = client(lambda clip, said, check: {"said": said}).post(
        "/score?transcript=%20", content=b"clip"
    )
    assert answer.json() == {"said": None}


def test_the_page_needs_no_other_address(client):
    answer = client().get("/")
    rules = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and "default-src 'none'" in rules
    assert "/* style */" not in answer.text and "/* program */" not in answer.text
    # Its own program is what the browser may run.
    program = answer.text.split("<script>")[1].split("</script>")[0]
    assert page._hash(program) in rules
    addresses = answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in addresses and "https://" not in addresses
    told = client().get("/about").json()
    assert told["system"] == "toy" and told["max_seconds"] == 5


@pytest.mark.parametrize("path", ["/nothing", "/etc/passwd", "/../page.py", "/score/x"])
def test_an_unknown_path_is_not_found(client, path):
    answer = client().get(path)
    assert answer.status_code == 404 and answer.json() == {"error": "Not Found"}
    assert client().get("/score").status_code == 405


def test_an_unreadable_clip_is_told_without_the_path(client):
    def score(clip, said, check):
        raise DataError(f"{clip} is no media file; convert it to mp4")

    answer = client(score).post("/score", content=b"text")
    assert answer.status_code == 422
    assert answer.json() == {"error": "the clip is no media file; convert it to mp4"}


def test_an_error_of_ours_shows_nothing_to_the_visitor(client, capsys):
    def score(clip, said, check):
        raise RuntimeError("secret")

    answer = client(score).post("/score", content=b"clip")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert "RuntimeError: secret" in capsys.readouterr().err


def test_an_error_of_the_server_is_no_traceback_for_the_visitor(
    client, monkeypatch, capsys
):
    monkeypatch.setattr(app, "_WAITING", None)  # stands for any error of the server
    answer = client().post("/score", content=b"clip")
    assert answer.status_code == 500 and "could not be scored" in answer.json()["error"]
    assert "TypeError" in capsys.readouterr().err


def parts(size):
    """A body without a stated length."""
    for _ in range(size):
        yield b"x" * 100


@pytest.mark.parametrize("content", [b"x" * 1001, parts(11)], ids=["stated", "found"])
def test_a_large_clip_is_refused(client, content):
    answer = client(lambda *_: pytest.fail("scored")).post("/score", content=content)
    assert answer.status_code == 413 and "at most 0.001 MB" in answer.json()["error"]


def test_a_stated_size_is_refused_before_the_clip_arrives(make, monkeypatch):
    monkeypatch.setattr(app, "_PATIENCE", 0.05)
    application = make(lambda *_: pytest.fail("scored"))
    stated = [(b"content-length", b"1001")]
    start, *_ = asyncio.run(call(application, headers=stated))
    assert start["status"] == 413


def test_empty_and_long_inputs_are_refused(client):
    answer = client().post("/score", content=b"")
    assert answer.status_code == 422 and "no clip arrived" in answer.json()["error"]
    said = "a" * (app.MOST_LETTERS + 1)
    answer = client().post("/score", params={"transcript": said}, content=b"clip")
    assert answer.status_code == 422 and "2001 letters" in answer.json()["error"]


def test_an_upload_that_does_not_end_is_given_up(make, monkeypatch):
    monkeypatch.setattr(app, "_PATIENCE", 0.05)
    part = {"type": "http.request", "body": b"c", "more_body": True}
    start, *_ = asyncio.run(call(make(lambda *_: pytest.fail("scored")), part))
    assert start["status"] == 408


def test_a_second_visitor_waits_until_the_first_clip_is_scored(make):
    at_once, most, lock = [0], [0], threading.Lock()
    both = threading.Event()

    def score(clip, said, check):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        both.wait(5)  # until the second clip has arrived, too
        with lock:
            at_once[0] -= 1
        return {"clip": clip.read_text()}

    async def visit():
        application = make(score)
        first = asyncio.create_task(call(application, BODY))
        while not at_once[0]:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(call(application, BODY | {"body": b"second"}))
        await asyncio.sleep(0.05)
        both.set()
        return await first, await second

    answers = asyncio.run(visit())
    assert most[0] == 1
    assert [a[1]["body"] for a in answers] == [b'{"clip":"clip"}', b'{"clip":"second"}']


def test_a_crowd_is_asked_to_come_back(make, monkeypatch):
    monkeypatch.setattr(app, "_WAITING", 0)
    busy, end = threading.Event(), threading.Event()

    def score(clip, said, check):
        busy.set()
        end.wait(5)
        return {}

    async def visit():
        application = make(score)
        first = asyncio.create_task(call(application, BODY))
        while not busy.is_set():
            await asyncio.sleep(0.001)
        start, *_ = await call(application, BODY)
        end.set()
        await first
        third = await call(application, BODY)
        return start, third[0]

    refused, taken = asyncio.run(visit())
    assert refused["status"] == 503 and (b"retry-after", b"60") in refused["headers"]
    assert taken["status"] == 200


def test_a_browser_closed_during_the_upload_leaves_no_file(make):
    part = {"type": "http.request", "body": b"cl", "more_body": True}
    start, *_ = asyncio.run(call(make(lambda *_: pytest.fail("scored")), part, GONE))
    assert start["status"] == 499


def test_a_browser_closed_during_the_work_ends_it_and_deletes_the_clip(make):
    left, stages = threading.Event(), []

    def score(clip, said, check):
        stages.append("read")
        assert left.wait(5) and clip.exists()  # in use until the thread ends
        for _ in range(1000):  # the server hears of it a moment later
            check()
            threading.Event().wait(0.002)
        stages.append("scored")
        return {}

    async def leave():
        while not stages:
            await asyncio.sleep(0.001)
        left.set()
        return GONE

    start, *_ = asyncio.run(call(make(score), BODY, leave))
    assert start["status"] == 499 and stages == ["read"]


def test_a_visitor_who_leaves_the_queue_is_not_scored(make, tmp_path):
    began, end, scored = threading.Event(), threading.Event(), []

    def score(clip, said, check):
        scored.append(clip.read_bytes())
        began.set()
        end.wait(5)
        return {}

    async def visit():
        application = make(score)
        first = asyncio.create_task(call(application, BODY))
        while not began.is_set():
            await asyncio.sleep(0.001)
        await call(application, BODY | {"body": b"second"}, GONE)
        # Its clip is deleted while the first one is computed.
        assert len([*tmp_path.iterdir()]) == 1
        end.set()
        await first

    asyncio.run(visit())
    assert scored == [b"clip"]


@pytest.mark.parametrize(
    "served,host,known",
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "localhost:9", True),
        ("::1", "[::1]:8000", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example:8000", False),
        ("127.0.0.1", "192.168.0.7:8000", False),
        ("127.0.0.1", "[", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "192.168.0.7:8000", True),
        ("0.0.0.0", "evil.example", False),
        ("lab.example", "lab.example:8000", True),
    ],
)
def test_the_page_has_its_own_names_only(client, served, host, known):
    """A name of another that points here (DNS rebinding) is not ours."""
    answer = client(host=served).get("/about", headers={"host": host})
    assert (answer.status_code == 200) == known
    if not known:
        assert answer.status_code == 403 and "toy" not in answer.text


@pytest.mark.parametrize(
    "origin,status",
    [
        ("http://127.0.0.1:8000", 200),
        ("http://evil.example", 403),
        ("http://127.0.0.1:9000", 403),
        ("null", 403),
    ],
)
def test_other_websites_send_no_clips(client, origin, status):
    answer = client().post("/score", content=b"clip", headers={"origin": origin})
    assert answer.status_code == status
