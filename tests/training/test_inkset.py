from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inktex.core.errors import DataError
from inktex.training.inkset import Expression, fingerprint, load_inkset, save_inkset

from .synthetic import expression, expressions


def picture(identifier: str, seed: int = 0, size: tuple[int, int] = (20, 30)) -> Expression:
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    return Expression(identifier, "", ("x", "+"), (), ((), ()), pixels)


def same(one: Expression, other: Expression) -> bool:
    if (one.image is None) != (other.image is None):
        return False
    if one.image is not None and not np.array_equal(one.image, np.asarray(other.image)):
        return False
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


def test_images_are_saved_beside_ink(tmp_path: Path) -> None:
    path = tmp_path / "made.inkset"
    made = [picture("a"), *expressions(2), picture("b", 1, (1, 7)), picture("c", 2)]
    save_inkset(path, made)
    loaded = load_inkset(path)
    assert len(loaded) == 5
    assert all(map(same, loaded, made))
    save_inkset(path, made[:1])
    assert all(map(same, load_inkset(path), made[:1]))


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "made.inkset"
    made = expressions(5)
    save_inkset(path, made)
    with np.load(path) as arrays:
        contents = {name: arrays[name] for name in ("header", "lengths", "points")}
    header = json.loads(contents["header"].tobytes())
    header["format_version"] = 1
    for entry in header["expressions"]:
        del entry["image"]
    contents["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **contents)
    loaded = load_inkset(path)
    assert len(loaded) == 5
    assert all(map(same, loaded, made))


def test_two_expressions_of_one_name_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "made.inkset"
    save_inkset(path, expressions(2))
    before = path.read_bytes()
    with pytest.raises(DataError, match="expected every identifier once, found 'made-0' more"):
        save_inkset(path, [*expressions(2), expression(0)])
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["made.inkset"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made.inkset"
    save_inkset(path, expressions(2))
    before = path.read_bytes()

    def full(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(DataError, match="No space left on device"):
        save_inkset(path, expressions(3))
    assert path.read_bytes() == before
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
    made = [*expressions(4), picture("a")]
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
    rewritten(path, format_version=4, expressions=None)
    with pytest.raises(DataError, match="expected a format version up to 3, found 4"):
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


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((3, 3)), r"expected an image uint8 \[h, w\], found float64 \[3, 3\]"),
        (np.zeros((3, 3, 3), np.uint8), r"found uint8 \[3, 3, 3\]"),
        (np.zeros((0, 3), np.uint8), r"found uint8 \[0, 3\]"),
    ],
)
def test_an_image_is_bytes_in_rows_and_columns(image: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Expression("odd", "", (), (), (), image)


def test_an_expression_is_ink_or_an_image() -> None:
    ink = expression(0)
    with pytest.raises(DataError, match="expected strokes or an image, found 4 strokes and"):
        Expression("both", "", (), (*ink.strokes, *ink.strokes)[:4], (), np.zeros((2, 2), np.uint8))
    assert [stroke.dtype for stroke in ink.source] == [np.float64] * len(ink.strokes)
    shown = picture("a")
    assert shown.source is shown.image


def test_the_fingerprint_of_images_tells_their_pixels_apart() -> None:
    assert fingerprint([picture("a")]) == fingerprint([picture("a")])
    assert fingerprint([picture("a")]) != fingerprint([picture("a", 1)])
    assert fingerprint([picture("a")]) != fingerprint([picture("a", 0, (30, 20))])
    ink = Expression("a", "", ("x", "+"), (np.zeros((1, 2), np.float32),), ((), ()))
    assert fingerprint([picture("a")]) != fingerprint([ink])


def test_the_fingerprint_of_ink_is_what_it_always_was() -> None:
    """Checkpoints and bundles name it."""
    one = Expression("a", "", ("x",), (), ((),))
    text = "a\tx\nb\tx\n"
    two = Expression("b", "w", ("x",), (np.zeros((1, 2), np.float32),), ((0,),))
    assert fingerprint([two, one]) == sha256(text.encode()).hexdigest()[:16]


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
