from tests.test_readme import run, snippets


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    (block,) = snippets("msajax/media/README.md")
    made = run(block, tmp_path, monkeypatch)
    assert made["features"].audio.coefficients == 13
