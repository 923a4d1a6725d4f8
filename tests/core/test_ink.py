from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inktex.core.errors import InputError
from inktex.core.ink import Ink, MathNode, Symbol
from inktex.core.ink_file import MAX_BYTES, read_ink
from inktex.core.ink_json import ink_of_record

DOT = np.zeros((1, 2))
INKML = b'<ink><trace id="0">1 2, 3 4</trace></ink>'


def as_bytes(record: object) -> bytes:
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    "record",
    [
        {"strokes": [[[1, 2], [3, 4]], [[5, 6]]]},
        {"strokes": [[1, 2, 3, 4], [5, 6]]},
        [[[1, 2], [3, 4]], [[5, 6]]],
        [[1, 2, 3, 4], [5.0, 6]],
        [[[1, 2, 0.1], [3, 4, 0.2]], [[5, 6, 0.9]]],
        [[], [[1, 2], [3, 4]], [], [5, 6]],
    ],
)
def test_every_form_of_json_strokes(record: object) -> None:
    first, second = read_ink(as_bytes(record)).strokes
    assert first.dtype == second.dtype == np.float64
    assert first.tolist() == [[1, 2], [3, 4]]
    assert second.tolist() == [[5, 6]]


def test_json_keeps_what_is_known_about_the_ink() -> None:
    ink = read_ink(
        as_bytes(
            {
                **{"id": "a1", "writer": "w", "truth": " $x^2$ ", "latex": "x ^ { 2 }", "more": 0},
                "strokes": [[[0, 0]], [], [[1, 1]]],
                "symbols": [["2", [2], "2_1"], ["x", [0, 1], "x_1"], ["y", [1], None]],
                "mathml": ["msup", None, [["mi", "x_1", "x"], ["mn", "2_1", "2"]]],
            }
        )
    )
    assert (ink.identifier, ink.writer, ink.truth) == ("a1", "w", "$x^2$")
    # the empty stroke is gone, the indices follow, and nothing is left of the symbol y
    assert ink.symbols == (Symbol("2", (1,), "2_1"), Symbol("x", (0,), "x_1"))
    x, two = MathNode("mi", "x_1", "x"), MathNode("mn", "2_1", "2")
    assert ink.tree == MathNode("msup", children=(x, two))


def test_whole_numbers_are_names_and_captions_too() -> None:
    ink = read_ink(as_bytes({"strokes": [[0, 0]], "id": 0, "writer": 7, "latex": 12}), "a.json")
    assert (ink.identifier, ink.writer, ink.truth) == ("0", "7", "12")
    ink = read_ink(as_bytes({"strokes": [[0, 0]], "id": None, "writer": None}), "a.json")
    assert (ink.identifier, ink.writer, ink.truth) == ("a", "", None)


def test_points_may_have_time_pressure_and_tilt() -> None:
    assert read_ink(b"[[[1, 2, 0, 1, 0, 0], [3, 4]]]").strokes[0].tolist() == [[1, 2], [3, 4]]


def test_json_without_truth_takes_latex_and_without_id_the_name() -> None:
    ink = read_ink(as_bytes({"strokes": [[0, 0]], "latex": "x"}), "folder/ink7.json")
    assert (ink.truth, ink.identifier) == ("x", "ink7")
    assert read_ink(b"[[0, 0]]").truth is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "the file is empty"),
        (b" \n", "expected InkML"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"x^2", "expected InkML"),
        (b"{}", "found none"),
        (b'{"strokes": 3}', "found int"),
        (b"[]", "at least one stroke"),
        (b"[[], []]", "at least one stroke"),
        (b"[[1, 2], [3]]", "stroke 1: .* found 1 numbers"),
        (b"[[[1, 2], [3]]]", "stroke 0"),
        (b"[[[1, 2], 3]]", "stroke 0"),
        (b"[7]", "stroke 0"),
        (b'[["1", 2]]', "expected numbers, found '1'"),
        (b"[[true, 2]]", "expected numbers, found True"),
        (b"[[1, null]]", "expected numbers, found None"),
        (b"[[1, NaN]]", "found nan"),
        (b"[[1, Infinity]]", "found inf"),
        (b"[[1, 1e999]]", "found inf"),
        (b"[[1, -1e300]]", r"found -1e\+300"),
        (b"[[1, " + b"9" * 400 + b"]]", "too large"),
        (b"[[1, " + b"9" * 9999 + b"]]", "damaged JSON|too large"),
        (b"[[1, 2]", "damaged JSON"),
        (b"[[1, 2]]]", "damaged JSON"),
        (b"[[1, 2], \xff]", "damaged JSON"),
        (b"[" * 100_000, "damaged JSON"),
        (
            b"[[[0, 1, 2, 3, 4, 5, 6], [0, 1, 4, 9, 16, 25, 36]]]",
            "up to 7 numbers; .* separate lists",
        ),
        (b"[[[0, 1, 2], [0, 1, 4]], [[5, 6], [7, 8]]]", "up to 3 numbers; .* separate lists"),
        (b"[[0, 0], [], [1, 1], [2, 4]]", "found 3 pairs .* of one stroke, put it in a list"),
        (b'{"strokes": [[1, 2]], "writer": 1.5}', "writer: expected text, found 1.5"),
        (b'{"strokes": [[1, 2]], "id": true}', "id: expected text, found True"),
        (b'{"strokes": [[1, 2]], "latex": ["x"]}', "latex: expected text, found"),
        (b'{"strokes": [[1, 2]], "symbols": 3}', "symbols"),
        (b'{"strokes": [[1, 2]], "symbols": [["x", 0, "x_1"]]}', "symbols"),
        (b'{"strokes": [[1, 2]], "symbols": [["x", ["0"], "x_1"]]}', "symbols"),
        (b'{"strokes": [[1, 2]], "mathml": ["mi", null]}', "mathml"),
    ],
)
def test_what_is_not_ink_is_refused_by_name(data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)^scan\.json: .*({told})"):
        read_ink(data, "scan.json")


def test_a_tree_that_would_overflow_the_stack_is_refused() -> None:
    tree: list[object] = ["mi", "x_1", "x"]
    for _ in range(300):
        tree = ["mrow", None, [tree]]
    with pytest.raises(InputError, match="256 deep"):
        ink_of_record({"strokes": [[0, 0]], "mathml": tree})


def test_the_format_is_told_by_content() -> None:
    for content in (
        INKML,
        b"\n\n" + INKML,
        b"\xef\xbb\xbf" + INKML,
        INKML.decode().encode("utf-16"),
        b" [[1, 2, 3, 4]]",
        "[[1, 2, 3, 4]]".encode("utf-16"),
        "[[1, 2, 3, 4]]".encode("utf-16-le"),
        b'\xef\xbb\xbf{"strokes": [[1, 2, 3, 4]]}',
    ):
        assert read_ink(content).strokes[0].tolist() == [[1, 2], [3, 4]]


def test_errors_and_identifiers_bear_the_name_of_the_file() -> None:
    assert read_ink(INKML, "good.inkml").identifier == "good"
    with pytest.raises(InputError, match=r"^bad\.inkml: .*damaged XML"):
        read_ink(INKML[:20], "bad.inkml")


def test_a_file_beyond_the_limit_is_not_read() -> None:
    with pytest.raises(InputError, match=f"at most {MAX_BYTES} bytes"):
        read_ink(bytes(MAX_BYTES + 1))


def test_one_dot_is_ink() -> None:
    assert read_ink(b"[[[3, 4]]]").strokes[0].tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("strokes", "told"),
    [
        ((), "at least one stroke"),
        ((np.zeros((0, 2)),), r"stroke 0: .* found \[0, 2\]"),
        ((DOT, np.zeros((2, 3))), r"stroke 1: .* found \[2, 3\]"),
        ((np.zeros(4),), r"found \[4\]"),
        ((DOT.astype(np.float32),), "found float32"),
        (([[0.0, 0.0], [1.0, 1.0]],), "stroke 0: .* found list"),
        (DOT, "a tuple of strokes, found ndarray"),
        (5, "a tuple of strokes, found int"),
        ((DOT * np.nan,), "found nan"),
        ((DOT, DOT - np.inf), "stroke 1: .* found -inf"),
    ],
)
def test_ink_that_breaks_its_promises_cannot_be_made(strokes: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Ink(strokes)


@pytest.mark.parametrize("index", [-1, 1])
def test_a_symbol_of_strokes_that_are_not_there_cannot_be_made(index: int) -> None:
    with pytest.raises(InputError, match="symbol 'x'"):
        Ink((DOT,), (Symbol("x", (index,)),))


COORDINATE = st.floats(-1e9, 1e9)


@given(st.lists(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1), min_size=1))
def test_points_come_back_as_they_were_written(strokes: list[list[tuple[float, float]]]) -> None:
    traces = "".join(
        f"<trace>{', '.join(f'{x!r} {y!r}' for x, y in stroke)}</trace>" for stroke in strokes
    )
    expected = [np.array(stroke) for stroke in strokes]
    for data in (as_bytes(strokes), f"<ink>{traces}</ink>".encode()):
        for found, stroke in zip(read_ink(data).strokes, expected, strict=True):
            np.testing.assert_array_equal(found, stroke)


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["strokes", "symbols", "mathml", "id"]), inner, max_size=3),
))  # fmt: skip
def test_any_json_gives_ink_or_says_why_not(record: object) -> None:
    try:
        ink = ink_of_record(record, "any")
    except InputError as error:
        assert str(error).startswith("any: ")  # noqa: PT017 - either outcome is right
    else:
        assert ink.strokes
