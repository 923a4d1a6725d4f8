from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inktex.core.errors import DataError, InputError
from inktex.core.recognizer import Alternative, Result, Timings
from inktex.training.evaluation import (
    Reading,
    Sample,
    load_samples,
    read_all,
    score_readings,
    write_readings,
)
from inktex.training.inkset import Expression, save_inkset

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


def test_samples_of_an_ink_set_may_be_images(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    save_inkset(tmp_path / "made.inkset", [Expression("a", "", ("x",), (), ((),), image)])
    [sample] = load_samples(tmp_path / "made.inkset")
    np.testing.assert_array_equal(sample.source, image)


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
    for nothing in (tmp_path / "none.zip", captions):
        with pytest.raises(DataError, match=r"expected a \.zip or folder of \.png .*found none"):
            load_samples(nothing, captions)
    with pytest.raises(DataError, match="found none"):
        load_samples(tmp_path / "none.inkset")


def test_names_and_captions_are_checked(tmp_path: Path) -> None:
    made = expressions(2)
    save_inkset(tmp_path / "made.inkset", made)
    captions = tmp_path / "captions.tsv"
    captions.write_text("a\tx\nb\t\n")
    with pytest.raises(DataError, match="leave --captions out"):
        load_samples(tmp_path / "made.inkset", captions)
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for place in ("", "deep"):
        (tmp_path / "images" / place / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match="found a twice"):
        load_samples(tmp_path / "images", captions)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr("b.png", png(1))
    with pytest.raises(DataError, match="expected a caption of b, found an empty one"):
        load_samples(tmp_path / "images.zip", captions)
    with pytest.raises(DataError, match=r"expected captions at .*none\.tsv"):
        load_samples(tmp_path / "images.zip", tmp_path / "none.tsv")


class Answers:
    """Stands in for a recognizer: knows what to answer to each source."""

    def __init__(self, answers: dict[int, Result]) -> None:
        self.answers = answers
        self.asked: list[dict[str, Any]] = []

    def __call__(self, source: int, **options: Any) -> Result:
        self.asked.append(options)
        if source not in self.answers:
            raise InputError(f"{options['name']}: expected ink, found none")
        return self.answers[source]


def result(tokens: str, confidence: float, *others: Alternative) -> Result:
    timings = Timings(1, 1, 1, 3)
    return Result("", tuple(tokens.split()), confidence, -0.1, others, timings)


def test_everything_is_read_and_scored(tmp_path: Path) -> None:
    samples = [Sample("a", 1, ("x", "+", "1")), Sample("b", 2, ("y",)), Sample("c", 3, ("z",))]
    other = Alternative("y", ("y",), 0.125, -2.0)
    answers = Answers({1: result("x + 1", 0.9), 2: result("z", 0.25, other)})
    readings = read_all(answers, samples, beam=3, nbest=2, constrain=False)  # type: ignore[arg-type]
    asked = {"beam": 3, "nbest": 2, "constrain": False, "rescore": None, "name": "a"}
    assert answers.asked[0] == asked
    assert readings[1] == Reading("b", ("y",), ("z",), 0.25, -0.1, (other,))
    assert readings[2].tokens == ()
    assert readings[2].problem == "c: expected ink, found none"
    assert score_readings(readings).exact == pytest.approx(1 / 3)
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
        "problem": None,
    }
    assert [line["right"] for line in lines] == [True, False, False]
    assert lines[2]["confidence"] is None
    assert lines[2]["problem"] == "c: expected ink, found none"
    assert [each.name for each in tmp_path.iterdir()] == ["readings.jsonl"]
