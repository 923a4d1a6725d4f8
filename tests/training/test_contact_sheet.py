from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from inktex.training.contact_sheet import contact_sheet, write_contact_sheet
from inktex.training.inkset import Expression

from .synthetic import expressions
from .test_inspection import image


def dark(sheet: Image.Image) -> int:
    return int((np.asarray(sheet) < 128).sum())


def test_a_sheet_shows_a_sample_with_its_captions() -> None:
    made = [*expressions(8), image("wide", "x " * 400, (60, 3000))]
    sheet = contact_sheet(made, "made", count=6)
    assert sheet.mode == "L"
    two_rows, one_row = sheet.height, contact_sheet(made, "made", count=4).height
    assert two_rows > one_row
    assert contact_sheet(made, "made", count=100).height > two_rows
    assert dark(sheet) > dark(contact_sheet(made, "made", count=1)) > 100


def test_the_sample_follows_its_seed() -> None:
    made = expressions(30)
    one, same, other = (contact_sheet(made, "made", 4, seed) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


def test_drawings_are_dark_on_white_over_their_captions() -> None:
    block = image("block", "x")
    sheet = np.asarray(contact_sheet([block], "made", 1))
    cell = sheet[36:, :320]
    assert block.image is not None
    drawn = (255 - block.image).astype(int)
    np.testing.assert_array_equal(cell[1 : 1 + drawn.shape[0], 10 : 10 + drawn.shape[1]], drawn)
    assert (cell[122:, :] < 128).any()  # the caption


def test_what_cannot_be_drawn_says_so_in_its_place() -> None:
    nothing = Expression("nothing", "", ("x",), (), ((),))
    sheet = np.asarray(contact_sheet([nothing], "odd", 1))
    assert (sheet[36 + 122 :] < 128).sum() > 100


def test_an_empty_set_gives_a_sheet_with_a_heading_alone() -> None:
    sheet = contact_sheet([], "none")
    assert sheet.height < 50
    assert dark(sheet) > 50


def test_a_sheet_is_written_as_png(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    sheet = contact_sheet(expressions(2), "made")
    write_contact_sheet(path, sheet)
    with Image.open(path) as read:
        assert read.format == "PNG"
        assert read.tobytes() == sheet.tobytes()
    assert list(tmp_path.iterdir()) == [path]
