import csv
import io
import tarfile

import pytest

from tools import vader

FILES = {
    "movieReviewSnippets_GroundTruth.txt": '1\t-4\tDull – a cliché.\r\n2\t2.0\t It\'s a "treat", really \r\n',
    "amazonReviewSnippets_GroundTruth.txt": "7_1\t0.4\tit plays.\r\n7_2\t-1\tit broke.",
    "tweets_GroundTruth.txt": "1\t3\tYay.\r\n",
}
LABELS = (
    "video_id,clip_id,text,label,annotation,mode\nv,0,fine – 好,1.0,Positive,valid\n"
)


def archive(files):
    """The bytes of a .tar.gz of files by path."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def package():
    inner = {f"hutto/{name}": text.encode() for name, text in FILES.items()}
    nested = "vaderSentiment/additional_resources/hutto_ICWSM_2014.tar.gz"
    return archive({"vaderSentiment/setup.py": b"", nested: archive(inner)})


def run(tmp_path, package, labels=LABELS):
    """The tool's exit status, for these bytes of its files."""
    places = [tmp_path / name for name in ("package.tar.gz", "label.csv")]
    for path, content in zip(places, (package, labels.encode()), strict=True):
        path.write_bytes(content)
    return vader.main([*map(str, places), "--out", str(tmp_path / "new" / "both.csv")])


def test_sentences_and_rows(package, tmp_path, capsys):
    assert run(tmp_path, package) == 0
    out = tmp_path / "new" / "both.csv"
    said = f"{out}: 4 sentences of VADER and the 1 rows of {tmp_path / 'label.csv'}\n"
    assert capsys.readouterr().out == said
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["video_id", "clip_id", "text", "label", "mode"],
        ["movie_1", "1", "Dull – a cliché.", "-3.0", "train"],
        ["movie_2", "1", 'It\'s a "treat", really', "1.5", "train"],
        ["amazon_7", "1", "it plays.", "0.30000000000000004", "train"],
        ["amazon_7", "2", "it broke.", "-0.75", "train"],
        ["v", "0", "fine – 好", "1.0", "valid"],
    ]
    assert run(tmp_path, package) == 1
    assert capsys.readouterr().err == (
        f"error: {out} exists; give the path of a new file\n"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"setup.py": b""},
            "the archive has no hutto_ICWSM_2014.tar.gz; download the source",
        ),
        (
            {
                "hutto_ICWSM_2014.tar.gz": archive(
                    {"movieReviewSnippets_GroundTruth.txt": b""}
                )
            },
            "the archive has no movieReviewSnippets_GroundTruth.txt; download the source",
        ),
        ({"hutto_ICWSM_2014.tar.gz": b"cut"}, "truncated or damaged archive"),
        (
            {"hutto_ICWSM_2014.tar.gz": archive(dict.fromkeys(FILES, b"1"))},
            "truncated or damaged archive",
        ),
    ],
    ids=["no sentences", "empty reviews", "damaged inside", "damaged rows"],
)
def test_another_archive_is_refused(files, message, tmp_path, capsys):
    assert run(tmp_path, archive(files)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_files_that_cannot_be_read(package, tmp_path, capsys):
    at = tmp_path / "package.tar.gz"
    # Where only the checksum at the end is wrong, all sentences can be read.
    for damaged in (package[: len(package) // 2], package[:-8] + bytes(8)):
        assert run(tmp_path, damaged) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: truncated or damaged archive {at}")
        assert "download the source archive" in said
    assert run(tmp_path, package, "video_id,clip_id,text\n") == 1
    said = f'error: {tmp_path / "label.csv"}: the column "label" is missing'
    assert capsys.readouterr().err.startswith(said)
    assert vader.main(["missing", "label.csv", "--out", str(tmp_path / "x")]) == 1
    assert "No such file or directory: 'missing'" in capsys.readouterr().err
