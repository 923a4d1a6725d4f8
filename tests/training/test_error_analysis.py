from __future__ import annotations

import json
from math import nan

import pytest

from inktex.core.alignment import EXTRA, MISSING, SUBSTITUTED
from inktex.training.error_analysis import (
    MISSES,
    Confusion,
    analyse,
    by_length,
    by_structure,
    confusions,
    kind_of_miss,
)
from inktex.training.evaluation import Reading
from inktex.training.score_tables import score_tables


def reading(caption: str, read: str, name: str = "", problem: str = "") -> Reading:
    return Reading(name, tuple(caption.split()), tuple(read.split()), 0.5, problem=problem)


READINGS = [
    reading("x", "x", "right"),
    reading("x + y", "X + y", "a letter"),
    reading("x ^ { 2 }", "x 2", "no script"),
    reading(r"\frac { 1 } { x }", r"\frac { 1 } { X }", "a letter in a fraction"),
    reading("1 + 1", "1 + + 1", "one more"),
]


def test_confusions_are_counted_the_most_frequent_first() -> None:
    found = confusions(READINGS)
    assert found[0] == Confusion("x", "X", 2)
    assert set(found[1:]) == {
        Confusion("^", None, 1),
        Confusion("{", None, 1),
        Confusion("}", None, 1),
        Confusion(None, "+", 1),
    }
    assert {each.kind for each in found} == {SUBSTITUTED, MISSING, EXTRA}
    assert found == confusions(READINGS[::-1])
    assert confusions(READINGS[:1]) == ()


@pytest.mark.parametrize(
    ("caption", "read", "kind"),
    [
        ("x + y", "X + Y", "symbols misread"),
        ("x ^ { 2 }", "x 2", "structure"),
        ("x ^ { 2 }", "x _ { 2 }", "structure"),
        (r"\frac { a } { b }", "a b", "structure"),
        ("x + y + 1", "x + 1", "parts left out"),
        ("x ^ { 2 } + 1", "x + 1", "parts left out"),
        ("x + 1", "x + 1 + 1", "parts not there"),
        ("x ^ { 2 } + 1", "X 2 + 1", "several of these"),
        ("x + y", "", "parts left out"),
    ],
)
def test_a_wrong_reading_is_wrong_in_one_way(caption: str, read: str, kind: str) -> None:
    assert kind_of_miss(caption.split(), read.split()) == kind
    assert kind in MISSES


def test_misses_are_counted() -> None:
    assert analyse(READINGS).misses == {
        "symbols misread": 2,
        "structure": 1,
        "parts left out": 0,
        "parts not there": 1,
        "several of these": 0,
    }
    assert "of 4 wrong readings: symbols misread 50 %" in score_tables(analyse(READINGS))
    assert "wrong readings" not in score_tables(analyse(READINGS[:1]))


def test_what_could_not_be_read_is_no_confusion() -> None:
    blank = reading("x + y", "", "blank", problem="expected ink, found none")
    assert confusions([blank]) == ()
    found = analyse([*READINGS, blank])
    assert found.unreadable == {"blank": "expected ink, found none"}
    assert found.score.count == 6
    assert found.score.exact_count == 1


def test_scores_by_length() -> None:
    lengths = [1, 5, 6, 10, 11, 20, 21, 40, 41, 90]
    made = [reading("x " * length, "x " * length) for length in lengths]
    groups = by_length([*made, reading("x " * 41, "x")])
    assert [group.name for group in groups] == ["1-5", "6-10", "11-20", "21-40", "41 and more"]
    assert [group.score.count for group in groups] == [2, 2, 2, 2, 3]
    assert [group.score.exact_count for group in groups] == [2] * 5
    assert [group.name for group in by_length(made[2:4])] == ["6-10"]


def test_scores_by_structure() -> None:
    both = r"\sum \limits _ { i } \frac { 1 } { x ^ { 2 } }"
    found = {
        group.name: (group.score.count, group.score.exact_count)
        for group in by_structure([*READINGS, reading(both, both)])
    }
    assert found == {
        "fractions": (2, 1),
        "scripts": (2, 1),
        "big operators": (1, 1),
        "none of these": (3, 1),
    }


def test_everything_is_in_the_json() -> None:
    found = analyse([*READINGS, reading("x", "", "blank", problem="no ink")]).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["count"] == 6
    assert found["exact"] == pytest.approx(1 / 6)
    assert found["by_length"][0]["length"] == "1-5"
    assert sum(group["count"] for group in found["by_length"]) == 6
    assert {group["structure"] for group in found["by_structure"]} == {
        "fractions",
        "scripts",
        "none of these",
    }
    assert found["confusions"][0] == {
        "kind": SUBSTITUTED,
        "reference": "x",
        "prediction": "X",
        "count": 2,
    }
    assert len(found["confusions"]) == 5
    assert found["unreadable"] == {"blank": "no ink"}


def test_the_tables_are_short_and_straight() -> None:
    blank = Reading("blank", ("x",), (), nan, problem="expected ink, found none")
    lines = score_tables(analyse([*READINGS, blank]), most_confusions=2).splitlines()
    assert lines[:2] == ["ExpRate 16.67 %, 95 % confidence interval 3.0 to 56.4 %", ""]
    first = next(number for number, line in enumerate(lines) if line.startswith("misread"))
    scores = [line for line in lines[2:first] if line and "wrong readings" not in line]
    assert len({len(line) for line in scores}) == 1
    assert scores[0].endswith("token errors %")
    assert [line.split("  ")[0] for line in scores[1:]] == [
        "all",
        "1-5 tokens",
        "6-10 tokens",
        "fractions",
        "scripts",
        "none of these",
    ]
    assert scores[1].split()[1:3] == ["6", "16.67"]
    assert [line.split() for line in lines[first:-2]] == [
        ["misread", "times", "overlooked", "times", "not", "there", "times"],
        ["x", "as", "X", "2", "^", "1", "+", "1"],
        ["{", "1"],
    ]
    assert lines[-1] == (
        "1 could not be read and count as wrong; the first is blank: expected ink, found none"
    )
    perfect = score_tables(analyse(READINGS[:1]))
    assert "misread" not in perfect
    assert "could not be read" not in perfect
