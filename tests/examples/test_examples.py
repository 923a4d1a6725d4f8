"""The examples: complete, readable, and what `examples/draw.py` draws."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inktex.core.image import load_image
from inktex.core.ink_file import read_ink
from inktex.core.latex import normalize, to_latex, tokenize

FOLDER = Path(__file__).resolve().parents[2] / "examples"
INK = (".inkml", ".json")
IMAGES = (".png", ".jpg", ".webp")
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in INK + IMAGES)


@pytest.fixture(scope="module")
def draw() -> Iterator[ModuleType]:
    """The generator, imported as `python examples/draw.py` finds it: its folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("draw")


@pytest.fixture(scope="module")
def drawn(draw: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every example drawn anew: name -> file."""
    folder = tmp_path_factory.mktemp("examples")
    files = {example.file: folder / example.file for example in draw.EXAMPLES}
    for example in draw.EXAMPLES:
        draw.write_example(example, files[example.file])
    return files


def examples(draw: ModuleType) -> dict[str, Any]:
    return {example.file: example for example in draw.EXAMPLES}


def test_there_are_many_in_every_form_and_they_are_small() -> None:
    assert len(FILES) >= 14
    assert {path.suffix for path in FILES} == {*INK, *IMAGES}
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 300_000


def test_the_folder_holds_what_the_generator_lists(draw: ModuleType) -> None:
    assert {path.name for path in FILES} == set(examples(draw))


def test_captions_are_in_the_evaluation_convention(draw: ModuleType) -> None:
    for example in draw.EXAMPLES:
        assert normalize(tokenize(example.caption)) == example.caption.split()


def test_the_readme_says_what_each_file_holds(draw: ModuleType) -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for example in draw.EXAMPLES:
        latex = to_latex(example.caption.split())
        assert f"| [{example.file}]({example.file}) | `{latex}` |" in readme


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in INK], ids=lambda p: p.name)
def test_ink_is_read_with_its_truth(path: Path, draw: ModuleType) -> None:
    ink = read_ink(path.read_bytes(), path.name)

    caption = examples(draw)[path.name].caption
    assert ink.truth is not None
    assert normalize(tokenize(ink.truth)) == caption.split()
    assert len(ink.strokes) >= sum(token not in "^_{}" for token in caption.split()) / 2
    assert np.ptp(np.concatenate(ink.strokes), axis=0).min() > 100


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in INK], ids=lambda p: p.name)
def test_ink_is_drawn_the_same_byte_for_byte(path: Path, drawn: dict[str, Path]) -> None:
    assert drawn[path.name].read_bytes() == path.read_bytes()


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in IMAGES], ids=lambda p: p.name)
def test_images_are_drawn_alike(path: Path, drawn: dict[str, Path]) -> None:
    # Encoders and pens differ in a level here and there between versions of pillow.
    with Image.open(path) as kept, Image.open(drawn[path.name]) as new:
        assert kept.format == new.format
        difference = np.asarray(kept.convert("L"), float) - np.asarray(new.convert("L"), float)
    assert np.abs(difference).mean() < 1.0


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix in IMAGES], ids=lambda p: p.name)
def test_images_load_as_ink_on_black(path: Path, draw: ModuleType) -> None:
    loaded = load_image(path.read_bytes())

    # The ink of the drawing, whatever became of it on paper, on the board or in the photo.
    example = examples(draw)[path.name]
    strokes = draw.Hand(example.seed).write(example.caption)
    margin = 50 if example.look == "photo" else 16
    ink = draw.drawing(strokes, example.scale, example.pen_px, margin)
    assert loaded.shape == ink.shape
    if example.look == "photo":  # turned, and so not in the same place
        assert 0.5 < (loaded > 127).sum() / (ink > 127).sum() < 2
        assert np.median(loaded) == 0
    else:
        both = ((loaded > 127) & (ink > 127)).sum()
        assert both > 0.9 * max((loaded > 127).sum(), (ink > 127).sum())


def test_the_picture_of_the_readme_is_there(draw: ModuleType) -> None:
    with Image.open(draw.PICTURE) as kept:
        pictured = next(e for e in draw.EXAMPLES if e.file.startswith(draw.PICTURED))
        assert kept.size == draw.picture(pictured).size


def test_the_ink_of_the_profiler_is_that_of_the_examples(draw: ModuleType, tmp_path: Path) -> None:
    draw.write_profiled(tmp_path / "ink.zip")
    with zipfile.ZipFile(tmp_path / "ink.zip") as drawn, zipfile.ZipFile(draw.PROFILED) as kept:
        assert drawn.namelist() == kept.namelist()
        assert len(kept.namelist()) == len(draw.EXAMPLES)
        for name in kept.namelist():
            assert drawn.read(name) == kept.read(name)
    assert draw.PROFILED.stat().st_size < 30_000
