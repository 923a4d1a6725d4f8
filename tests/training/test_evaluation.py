from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inktex.core.errors import DataError
from inktex.training.evaluation import (
    Reading,
    Sample,
    load_samples,
    read_all,
    score_readings,
    write_readings,
)
from inktex.training.inkset import save_inkset

from .synthetic import expressions


def png(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), level).save(stream, "png")
    return stream.getvalue()


def test_samples_of_an_ink_set_are_strokes(tmp_path: Path) -> None:
    made = expressions(3)
    save_inkset(tmp_path / "made.inkset", made)
    samples = load_samples(tmp_path / "made.inkset")
    assert [(each.identifier, each.caption) for each in samples] == [
        (each.identifier, each.caption) for each in made
    ]
    for sample, each in zip(samples, made, strict=True):
        for stroke, recorded in zip(sample.source, each.strokes, strict=True):
            assert stroke.dtype == np.float64
            np.testing.assert_array_equal(stroke, recorded)


def test_samples_of_images_are_their_bytes(tmp_path: Path) -> None:
    captions = tmp_path / "captions.tsv"
    captions.write_text("a\tx + 1\nb\ty\nunused\tz\n")
    (tmp_path / "images" / "deep").mkdir(parents=True)
    (tmp_path / "images" / "b.PNG").write_bytes(png(2))
    (tmp_path / "images" / "deep" / "a.png").write_bytes(png(1))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr("images/a.png", png(1))
        file.writestr("b.png", png(2))
        file.writestr("notes.txt", "no image")
    wanted = {Sample("a", png(1), ("x", "+", "1")), Sample("b", png(2), ("y",))}
    assert set(load_samples(tmp_path / "images", captions)) == wanted
    assert set(load_samples(tmp_path / "images.zip", captions)) == wanted


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    captions = tmp_path / "captions.tsv"
    captions.write_text("a\tx\n")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr("b.png", png(1))
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as file:
        file.writestr("b.txt", "")
    with pytest.raises(DataError, match="--captions"):
        load_samples(tmp_path / "images.zip")
    with pytest.raises(DataError, match=r"expected a caption of b in .*captions\.tsv"):
        load_samples(tmp_path / "images.zip", captions)
    with pytest.raises(DataError, match="expected images"):
        load_samples(tmp_path / "none.zip", captions)
    with pytest.raises(DataError, match="zip or a folder"):
        load_samples(captions, captions)
    with pytest.raises(DataError, match="found none"):
        load_samples(tmp_path / "none.inkset")


def test_everything_is_read_and_scored(tmp_path: Path) -> None:
    samples = [Sample("a", 1, ("x", "+", "1")), Sample("b", 2, ("y",)), Sample("c", 3, ("z",))]
    answers = {1: (("x", "+", "1"), 0.9), 2: (["z"], 0.25), 3: ((), math.nan)}

    def read(source: Any) -> tuple[Sequence[str], float]:
        return answers[source]

    readings = read_all(read, samples)
    assert readings[1] == Reading("b", ("y",), ("z",), 0.25)
    result = score_readings(readings).to_dict()
    assert result["exact"] == pytest.approx(1 / 3)
    write_readings(tmp_path / "readings.jsonl", readings)
    text = (tmp_path / "readings.jsonl").read_text(encoding="utf-8")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert lines[0] == {
        "identifier": "a",
        "caption": "x + 1",
        "read": "x + 1",
        "confidence": 0.9,
        "right": True,
    }
    assert [line["right"] for line in lines] == [True, False, False]
    assert lines[2]["confidence"] is None
    assert [each.name for each in tmp_path.iterdir()] == ["readings.jsonl"]
