from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inktex.core.errors import DataError
from inktex.core.raster import canonical_bitmap
from inktex.core.rendering import CANONICAL, MARGIN_PX
from inktex.core.vocabulary import Vocabulary
from inktex.training.batches import draw
from inktex.training.captions import CaptionTable, read_caption_table
from inktex.training.data_import import import_data
from inktex.training.import_settings import ImportSettings
from inktex.training.inkset import load_inkset, save_inkset

from .synthetic import expression
from .test_ink_import import POWER


def png(number: int, scale: float = 1.0) -> bytes:
    """Formula `number` of the tests as dark ink on light paper."""
    strokes = [stroke.astype(np.float64) for stroke in expression(number).strokes]
    page = Image.fromarray(255 - canonical_bitmap(strokes))
    stream = BytesIO()
    size = round(page.width * scale), round(page.height * scale)
    page.resize(size).save(stream, "PNG")
    return stream.getvalue()


def settings(**captions: str) -> ImportSettings:
    return ImportSettings(CaptionTable(captions))


def test_images_come_at_the_canonical_scale(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png(0))
    (tmp_path / "large.png").write_bytes(png(0, 3.0))
    [large, one], report = import_data([tmp_path], settings(one="x+1", large=r"x \, +1"))
    assert (report.imported, report.skipped, report.respelt) == (2, [], 1)
    assert (one.identifier, one.writer, one.caption) == ("one", "", ("x", "+", "1"))
    assert one.strokes == ()
    assert one.ink == ((), (), ())
    assert one.image is not None
    assert large.image is not None
    assert np.abs(np.subtract(one.image.shape, large.image.shape)).max() <= 2
    # The strokes of an x are one connected part, so that the scale is a little smaller.
    assert one.rendering == CANONICAL
    ink = draw(expression(0), rendering=CANONICAL).image
    assert np.abs(np.subtract(one.image.shape, ink.shape)).max() <= 9
    assert one.image[: MARGIN_PX - 2].max() < 64 < 200 < one.image.max()


def test_a_bad_image_is_reported_and_the_rest_go_on(tmp_path: Path) -> None:
    blank = BytesIO()
    Image.new("L", (60, 40), 255).save(blank, "PNG")
    archive = tmp_path / "images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in {
            "a/good.png": png(1),
            "a/twice.jpg": png(1)[:300],
            "b/good.png": png(2),
            "blank.png": blank.getvalue(),
            "braces.png": png(3),
            "lonely.png": png(3),
            "macro.png": png(3),
            "notes.txt": b"",
        }.items():
            file.writestr(name, content)
    texts = {"good": "x^1", "twice": "x", "blank": "x", "braces": "{x", "macro": r"\foo"}
    expressions, report = import_data([archive], settings(**texts, absent="x", other="y"))
    assert [each.identifier for each in expressions] == ["good"]
    reasons = {each.name: each.reason for each in report.skipped}
    assert reasons == {
        "a/twice.jpg": "the image cannot be read",
        "b/good.png": "an expression of this name was imported already",
        "blank.png": "the image cannot be read",
        "braces.png": "the caption cannot be read",
        "lonely.png": "there is no caption of this name",
        "macro.png": "the caption holds an unknown token",
    }
    assert report.without_file == ["absent", "other"]
    told = str(report)
    assert "1 expressions imported, 6 skipped" in told
    assert "skipped 2: the image cannot be read (as a/twice.jpg: " in told
    assert "2 captions name no file that was found (as absent)" in told


def test_images_are_read_as_hme100k_and_im2latex_are_distributed(tmp_path: Path) -> None:
    folder = tmp_path / "train_images"
    folder.mkdir()
    for number in range(3):
        (folder / f"train_{number}.jpg").write_bytes(png(number))
    labels = tmp_path / "train_labels.txt"
    labels.write_text("train_0.jpg\tx + 1\ntrain_1.jpg\t1 ^ { x }\ntrain_2.jpg\t\\frac { 1 } 0\n")
    formulas = tmp_path / "im2latex_train.csv"
    formulas.write_text("formula,image\nx + 1,train_0.png\n1^x,train_1.png\n\\frac10,train_2.png\n")
    one, other = (
        import_data([folder], ImportSettings(read_caption_table(path)))[0]
        for path in (labels, formulas)
    )
    captions = ["x + 1", "1 ^ { x }", r"\frac { 1 } { 0 }"]
    assert [" ".join(each.caption) for each in one] == captions
    assert [" ".join(each.caption) for each in other] == captions


def test_a_vocabulary_keeps_other_tokens_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(png(0))
    table = CaptionTable({"a": "x", "b": "y"})
    known = ImportSettings(table, Vocabulary.from_captions([["x"]]))
    [taken], report = import_data([tmp_path], known)
    assert taken.identifier == "a"
    assert report.skipped == [("b.png", "the caption holds an unknown token", "y")]


def test_ink_and_images_of_several_places_make_one_set(tmp_path: Path) -> None:
    for kind in ("ink", "images"):
        (tmp_path / kind).mkdir()
    (tmp_path / "ink" / "power.inkml").write_text(POWER)
    (tmp_path / "ink" / "picture.png").write_bytes(png(0))  # beside ink it is no sample
    (tmp_path / "images" / "sum.png").write_bytes(png(0))
    (tmp_path / "images" / "power.png").write_bytes(png(1))
    sources = [tmp_path / "ink", tmp_path / "images"]
    expressions, report = import_data(sources, settings(power="x^2=", sum="x+1"))
    assert [(each.identifier, each.image is None) for each in expressions] == [
        ("power", True),
        ("sum", False),
    ]
    assert [each.name for each in report.skipped] == ["power.png"]
    path = tmp_path / "both.inkset"
    save_inkset(path, expressions)
    assert [each.identifier for each in load_inkset(path)] == ["power", "sum"]


def test_files_of_several_sources_are_told_apart_by_the_folders_in_the_table(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("own/anna/1.png", "own/ben/1.png", "old/ben/1.png")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    anna, ben, old = tmp_path / "own" / "anna", tmp_path / "own" / "ben", tmp_path / "old" / "ben"
    with zipfile.ZipFile(tmp_path / "anna.zip", "w") as file:
        file.write(anna / "1.png", "1.png")

    def imported(table: str, *sources: Path) -> dict[str, str]:
        (tmp_path / "own.tsv").write_text(table)
        settings = ImportSettings(read_caption_table(tmp_path / "own.tsv"))
        expressions, report = import_data(sources, settings)
        skipped = {each.name: each.reason for each in report.skipped}
        return skipped | {each.identifier: "".join(each.caption) for each in expressions}

    other = "the captions name files so called in other folders, and not this one"
    again = "an expression of this name was imported already"
    both = "anna/1.png\tx\nben/1.png\ty\n"
    for given in (anna, tmp_path / "anna.zip", anna / "1.png"):
        assert imported(both, ben, given) == {"ben/1": "y", "anna/1": "x"}
        assert imported("anna/1.png\tx\n", ben, given) == {"1.png": other, "anna/1": "x"}
    assert imported("own/ben/1\tx\nold/ben/1\ty\n", ben, old) == {
        "own/ben/1": "x",
        "old/ben/1": "y",
    }
    (tmp_path / "carl").symlink_to(anna, target_is_directory=True)
    assert imported("carl/1\tx\nben/1\ty\n", ben, tmp_path / "carl") == {
        "ben/1": "y",
        "carl/1": "x",
    }
    # a table that does not speak of the sources cannot tell them apart
    assert imported("1.png\tx\n", ben, anna) == {"1": "x", "1.png": again}
    assert imported("scans/1.png\tx\n", ben, anna) == {"1": "x", "1.png": again}
    assert imported(both, ben) == {"1": "y"}
    assert imported("scans/1.png\tx\nold/1.png\ty\n", ben) == {"1.png": other}
    assert imported("ben/1.png\tx\n", ben, ben) == {"1": "x", "1.png": again}


def test_images_need_captions_unless_none_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    with pytest.raises(DataError, match=r"expected captions for the images .* --captions"):
        import_data([tmp_path])
    [taken], report = import_data([tmp_path], ImportSettings(labelled=False))
    assert (taken.caption, taken.ink, report.skipped) == ((), (), [])
    with pytest.raises(DataError, match="--split: expected ink that names its split"):
        import_data([tmp_path], ImportSettings(CaptionTable({"a": "x"}), splits=("train",)))


def test_where_there_is_neither_ink_nor_images_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError, match=r"\.inkml files or of images .* found none"):
            import_data([path])
