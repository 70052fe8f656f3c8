"""Videos of ids, and the utterances before and behind each one."""

import numpy as np
import pytest

from msajax.data import demo, videos
from msajax.data.spec import Split


def split(*ids, **arrays):
    made = {key: np.array(x, np.int32) for key, x in arrays.items()}
    return Split(np.array(ids, str), np.array(ids, str), made)


def found(rows, before, behind):
    """{id: ids of its neighbours, '' where there is none}."""
    table, _, _ = videos.neighbours(rows, before, behind)
    assert table.shape == (len(rows), before + behind) and table.dtype == np.int32
    names = [*rows.ids.tolist(), ""]  # -1 is the last
    return {
        names[i]: [names[j] for j in places] for i, places in enumerate(table.tolist())
    }


@pytest.mark.parametrize("form", ["{}$_${}", "{}[{}]", "{}_utt{}"])
def test_clips_are_in_the_order_of_their_numbers(form):
    # Videos' names may have what looks like a clip, and stand for each other's beginning.
    ids = {
        (v, c): form.format(v, c) for v in ("a_1", "a") for c in ("10", "9", "011", "2")
    }
    near = found(split(*ids.values()), 2, 1)
    for v in ("a_1", "a"):
        assert near[ids[v, "2"]] == ["", "", ids[v, "9"]]
        assert near[ids[v, "9"]] == ["", ids[v, "2"], ids[v, "10"]]
        assert near[ids[v, "10"]] == [ids[v, "2"], ids[v, "9"], ids[v, "011"]]
        assert near[ids[v, "011"]] == [ids[v, "9"], ids[v, "10"], ""]


def test_dialogues_go_before_ids():
    rows = split("x_3", "x_2", "x_1", dialogue=[5, 6, 5], turn=[1, 0, 0])
    assert found(rows, 1, 1) == {
        "x_3": ["x_1", ""],
        "x_2": [""] * 2,
        "x_1": ["", "x_3"],
    }
    assert videos.neighbours(rows, 1, 1)[1:] == (2, 0)


def test_ids_that_name_no_video_stand_alone():
    rows = split("one", "v[1]", "two", "v[2]")
    assert found(rows, 1, 0) == {
        **{"one": [""], "v[1]": [""], "two": [""]},
        "v[2]": ["v[1]"],
    }
    assert videos.neighbours(rows, 1, 0)[1:] == (1, 2)


@pytest.mark.parametrize("form", ["train_{:04d}", "clip_{}", "{}", "v_{}_12"])
def test_rows_that_are_merely_numbered_are_no_video(form):
    ids = [form.format(i) for i in range(9)]
    table, groups, unknown = videos.neighbours(split(*ids), 1, 1)
    assert (table == -1).all() and (groups, unknown) == (0, 9)
    assert videos.names(split(*ids)) == ids


def test_the_demo_corpus_has_no_videos():
    for rows in demo.generate(0).splits.values():
        assert videos.neighbours(rows, 1, 1)[2] == len(rows)


def test_dialogues_of_several_splits_stay_apart():
    parts = [
        split("a", "b", "c", dialogue=[1, 0, 1]),
        split(dialogue=[]),
        split("d", "e", dialogue=[-2, 0]),
        split("f"),
    ]
    made = videos.apart(parts)
    assert [x.arrays["dialogue"].tolist() for x in made[:3]] == [[1, 0, 1], [], [2, 4]]
    assert not made[3].arrays and made[2].arrays["dialogue"].dtype == np.int32
    assert parts[2].arrays["dialogue"].tolist() == [-2, 0]
    assert videos.names(made[0]) == ["dialogue 1", "dialogue 0", "dialogue 1"]
    assert videos.names(split("u_utt3", "v[4]", "w")) == ["u", "v", "w"]


def test_every_neighbour_is_of_the_video_and_in_its_order():
    rng = np.random.default_rng(0)
    ids = [f"v{v}$_${c}" for v in range(5) for c in rng.choice(200, 17, replace=False)]
    rows = split(*rng.permutation(ids))
    table, groups, unknown = videos.neighbours(rows, 3, 2)
    assert (groups, unknown) == (5, 0)
    for i, near in enumerate(table):
        video, own = rows.ids[i].split("$_$")
        clips = [rows.ids[j].split("$_$") if j >= 0 else None for j in near]
        assert all(c is None or c[0] == video for c in clips)
        before = [int(c[1]) for c in clips[:3] if c]
        behind = [int(c[1]) for c in clips[3:] if c]
        around = [*before, int(own), *behind]
        assert around == sorted(around) and len(set(around)) == len(around)
        # Nothing of the video lies between them, or where one is missing.
        every = sorted(int(x.split("$_$")[1]) for x in ids if x.startswith(f"{video}$"))
        at = every.index(int(own))
        assert around == every[max(at - 3, 0) : at + 3]


def test_long_numbers_and_clips_without_one():
    far = "9" * 5000
    rows = split(f"v[{far}]", "v[]", "v[b]", "v[3 to 4]", "v[3 to 11]")
    near = found(rows, 1, 0)
    assert near["v[3 to 11]"] == ["v[3 to 4]"]
    assert near[f"v[{far}]"] == ["v[3 to 11]"]
