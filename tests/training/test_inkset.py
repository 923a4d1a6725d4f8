from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inktex.core.errors import DataError
from inktex.training.inkset import Expression, fingerprint, load_inkset, save_inkset

from .synthetic import expression, expressions


def same(one: Expression, other: Expression) -> bool:
    return (
        (one.identifier, one.writer, one.caption, one.ink)
        == (other.identifier, other.writer, other.caption, other.ink)
        and len(one.strokes) == len(other.strokes)
        and all(np.array_equal(a, b) for a, b in zip(one.strokes, other.strokes, strict=True))
        and {stroke.dtype for stroke in one.strokes} == {stroke.dtype for stroke in other.strokes}
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "made.inkset"
    made = expressions(7)
    made[2] = Expression(
        "größe/α β", "Jürgen 'x\"", ("\\alpha",), (np.array([[1e6, -3.5]], np.float32),), ((0,),)
    )
    save_inkset(path, made)
    loaded = load_inkset(path)
    assert len(loaded) == 7
    assert all(map(same, loaded, made))
    assert [each.name for each in tmp_path.iterdir()] == ["made.inkset"]


def test_an_empty_data_set_is_one_too(tmp_path: Path) -> None:
    save_inkset(tmp_path / "none.inkset", [])
    assert load_inkset(tmp_path / "none.inkset") == []


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none; make one with `inktex data import`"):
        load_inkset(tmp_path / "none.inkset")
    with pytest.raises(DataError, match="found none"):
        load_inkset(tmp_path)


def test_whatever_is_damaged_is_a_data_error_or_does_not_matter(tmp_path: Path) -> None:
    """Bytes cut off or flipped all over the file."""
    path = tmp_path / "made.inkset"
    made = expressions(4)
    save_inkset(path, made)
    data = path.read_bytes()
    refused = 0
    rng = np.random.default_rng(0)
    damaged = [data[:length] for length in range(0, len(data), max(len(data) // 40, 1))]
    for place in rng.integers(0, len(data), 150):
        damaged.append(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
    for each in damaged:
        path.write_bytes(each)
        try:
            loaded = load_inkset(path)
        except DataError:
            refused += 1
        else:
            assert all(map(same, loaded, made))
    assert refused > 150  # the checksums of a zip see to that


def rewritten(path: Path, **changes: Any) -> None:
    """The file at `path` with fields of its header replaced (None: taken out)."""
    with np.load(path) as arrays:
        contents = dict(arrays)
    header = {**json.loads(contents["header"].tobytes()), **changes}
    header = {name: value for name, value in header.items() if value is not None}
    contents["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **contents)


def test_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "made.inkset"
    save_inkset(path, expressions(2))
    rewritten(path, format_version=2, expressions=None)
    with pytest.raises(DataError, match="expected format version 1, found 2"):
        load_inkset(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": None},
        {"expressions": None},
        {"expressions": 3},
        {"expressions": [{"identifier": "x"}]},
        {"expressions": ["x"]},
    ],
)
def test_a_header_that_is_not_ours_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "made.inkset"
    save_inkset(path, expressions(2))
    rewritten(path, **changes)
    with pytest.raises(DataError, match=r"not a readable \.inkset file"):
        load_inkset(path)


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "evil.inkset"
    with path.open("wb") as file:
        np.savez(file, header=np.array([{"format_version": 1}], object), lengths=[], points=[])
    with pytest.raises(DataError, match="not a readable"):
        load_inkset(path)


def test_the_ink_is_told_for_every_token() -> None:
    with pytest.raises(DataError, match="two: expected strokes for each of 2 tokens, found 1"):
        Expression("two", "", ("x", "y"), (np.zeros((1, 2), np.float32),), ((0,),))


def test_the_fingerprint_tells_captions_and_names_apart_but_not_the_order() -> None:
    one, two, three = expressions(3)
    print_of = fingerprint([one, two])
    assert print_of == fingerprint([two, one])
    assert print_of != fingerprint([one, three])
    assert print_of != fingerprint([one])
    renamed = Expression("other", two.writer, two.caption, two.strokes, two.ink)
    assert print_of != fingerprint([one, renamed])
    assert len(print_of) == 16


def test_made_formulas_are_as_the_tests_believe() -> None:
    """Of the fixture itself: every stroke belongs to one token, and calls repeat."""
    for number in range(12):
        made = expression(number)
        assert sorted(i for indices in made.ink for i in indices) == list(range(len(made.strokes)))
        assert same(made, expression(number))
    assert len({each.caption for each in expressions(30)}) > 10
