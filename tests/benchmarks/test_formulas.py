from __future__ import annotations

import doctest
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inktex.benchmarks import formulas as module
from inktex.benchmarks.formulas import Formula, inkml, load_formulas, write_files
from inktex.core.errors import DataError
from inktex.core.ink_file import read_ink
from inktex.core.raster import canonical_bitmap
from inktex.training.inkset import Expression, save_inkset


def test_ink_written_as_inkml_is_the_same_ink() -> None:
    random = np.random.default_rng(1)
    strokes = [
        (random.normal(size=(5, 2)) * 10.0**scale).astype(np.float32) for scale in range(-3, 6)
    ]
    ink = read_ink(inkml(strokes, 'a "name" & <more>'))
    assert len(ink.strokes) == len(strokes)
    for written, read in zip(strokes, ink.strokes, strict=True):
        np.testing.assert_array_equal(read.astype(np.float32), written)


def test_an_ink_set_gives_its_strokes(tmp_path: Path, formulas: list[Formula]) -> None:
    path = tmp_path / "x.inkset"
    save_inkset(
        path,
        [
            Expression(
                each.name,
                "",
                ("x",),
                tuple(stroke.astype(np.float32) for stroke in each.source),
                ((),),
            )
            for each in formulas
        ],
    )
    loaded = load_formulas(path)
    assert len(loaded) == len(formulas)
    for ours, theirs in zip(loaded, formulas, strict=True):
        for one, other in zip(ours.source, theirs.source, strict=True):
            np.testing.assert_array_equal(one, other)
    assert [each.name for each in load_formulas(path, 5)] == [each.name for each in loaded[::2]]


def test_a_folder_and_a_zip_give_the_same_files(tmp_path: Path, formulas: list[Formula]) -> None:
    folder = tmp_path / "below" / "deeper"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("not a formula")
    paths = write_files(formulas, folder)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in [*paths, folder / "notes.txt"]:
            archive.write(path, f"inside/{path.name}")
    from_folder = load_formulas(tmp_path / "below")
    from_zip = load_formulas(tmp_path / "all.zip")
    assert len(from_folder) == len(formulas)
    assert [each.source for each in from_folder] == [each.source for each in from_zip]
    [alone] = load_formulas(paths[3])
    assert alone.source == from_folder[3].source


@pytest.mark.parametrize("name", ["nowhere", "empty", "notes.txt"])
def test_nothing_to_measure_with(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not a formula")
    with pytest.raises(DataError, match=f"{name}, found none"):
        load_formulas(tmp_path / name)


def test_formulas_come_again_until_there_are_enough(
    tmp_path: Path, formulas: list[Formula]
) -> None:
    paths = write_files(formulas[:3], tmp_path, 8)
    assert len(paths) == len(set(paths)) == len(list(tmp_path.iterdir())) == 8
    assert paths[7].read_bytes() == paths[1].read_bytes() != paths[0].read_bytes()


@pytest.mark.parametrize("loaded", [False, True], ids=["strokes", "InkML"])
def test_pictures_are_the_canonical_bitmap_black_on_white(
    tmp_path: Path, formulas: list[Formula], loaded: bool
) -> None:
    strokes = formulas[0].source
    source = inkml(strokes) if loaded else strokes
    [path] = write_files([Formula("x.inkml", source)], tmp_path, kind="png")
    pixels = np.asarray(Image.open(path))
    assert path.suffix == ".png"
    np.testing.assert_array_equal(255 - pixels, canonical_bitmap(strokes))


def test_pictures_stay_the_files_they_are(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (20, 20)).save(stream, "BMP")
    picture = Formula("x.bmp", stream.getvalue())
    [path] = write_files([picture], tmp_path, kind="png")
    assert (path.suffix, path.read_bytes()) == (".bmp", picture.source)
    with pytest.raises(DataError, match=r"found the image x\.bmp"):
        write_files([picture], tmp_path, kind="inkml")


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(module).failed == 0
