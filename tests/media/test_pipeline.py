"""A corpus extracted by Apache Beam. Its package is optional: pip install 'msajax[beam]'."""

import json
import sys

import numpy as np
import pytest
import soundfile

from msajax.data.errors import DataError
from msajax.media import corpus, pipeline, settings

FEATURES = settings.MediaFeatures(settings.audio("wave:rate=1000"))
OPTIONS = "runner=DirectRunner"


@pytest.fixture
def job(tmp_path):
    (tmp_path / "Raw" / "v").mkdir(parents=True)
    for i in range(3):
        sound = np.sin(np.arange(800 * (i + 1)) / 9) / 2
        soundfile.write(tmp_path / "Raw" / "v" / f"{i}.wav", sound, 8000)
    return corpus.Job(FEATURES, tmp_path / "Raw", tmp_path / "done")


@pytest.mark.filterwarnings("ignore")  # Beam's own
def test_the_pipeline_writes_what_the_processes_write(job):
    pytest.importorskip(
        "apache_beam", reason="Apache Beam is not installed: pip install 'msajax[beam]'"
    )
    names = ["v$_$0", "v$_$1", "v$_$二", "v$_$2"]
    failed = pipeline.run(job, names, options=OPTIONS)
    assert failed.keys() == {"v$_$二"} and "there is no file" in failed["v$_$二"]
    own = corpus.Job(FEATURES, job.media, job.media / "own")
    assert corpus.run(own, names, workers=0, told=lambda: None) == failed
    files = [corpus.file_of(job, name) for name in names if name not in failed]
    assert {*job.done.iterdir()} == {*files, job.done / "settings.json"}
    for path in files:
        with np.load(path) as found, np.load(own.done / path.name) as expected:
            assert found["audio"].size
            np.testing.assert_array_equal(found["audio"], expected["audio"])
    times = [path.stat().st_mtime_ns for path in files]
    assert pipeline.run(job, names, options=OPTIONS) == failed
    assert [path.stat().st_mtime_ns for path in files] == times  # not done again


def test_a_worker_tells_of_a_clip_in_a_line(job):
    corpus.start(job)
    assert json.loads(pipeline._line(job, "v$_$0")) == ["v$_$0", ""]
    name, why = json.loads(pipeline._line(job, "v$_$二"))
    assert name == "v$_$二" and "there is no file" in why


def test_beam_is_optional(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ValueError, match=r"pip install 'msajax\[beam\]'"):
        pipeline.run(job, ["v$_$0"], options=OPTIONS)


def test_an_option_that_beam_has_not(job):
    pytest.importorskip(
        "apache_beam", reason="Apache Beam is not installed: pip install 'msajax[beam]'"
    )
    with pytest.raises(DataError, match="Beam has no option runer; correct"):
        pipeline.run(job, ["v$_$0"], options="runer=FlinkRunner direct_num_workers=1")
    assert [path.name for path in job.done.iterdir()] == ["settings.json"]
