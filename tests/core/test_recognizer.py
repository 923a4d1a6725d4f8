from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inktex.core.confidence import FARTHEST, Calibration
from inktex.core.errors import BundleError, InktexError, InputError
from inktex.core.ink import Ink
from inktex.core.manifest import (
    Decoding,
    GraphSpec,
    Interface,
    Manifest,
    Preprocessing,
    TensorSpec,
    Variant,
)
from inktex.core.recognizer import Recognizer
from inktex.core.rendering import render_ink
from inktex.core.search import Hypothesis
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, "x", "^", "{", "}", "2", "3"))
SQUARE, CUBE = [*"x^{2}"], [*"x^{3}"]
KNOWN = (SQUARE, 0.6), (CUBE, 0.4)
STROKES = [
    np.array([[0.0, 0.0], [10.0, 20.0]]),
    np.array([[10.0, 0.0], [0.0, 20.0]]),
    np.array([[14.0, -8.0], [18.0, -8.0], [14.0, 0.0], [18.0, 0.0]]),
]


class Reading:
    """A model that knows two readings of everything, `x^2` with 0.6 and `x^3` with 0.4; written
    from the end, with 0.1 and 0.9."""

    vocabulary_size = len(VOCABULARY)

    def __init__(self, known: Sequence[tuple[list[str], float]] = KNOWN) -> None:
        self.known = known
        self.images: list[NDArray[np.float32]] = []

    def encode(self, images: NDArray[np.float32]) -> list[str]:
        self.images.extend(images)
        return ["memory"] * len(images)

    def start(self, memory: str, beams: int) -> list[tuple[int, ...]]:
        return [()] * beams

    def step(
        self, tokens: NDArray[np.int64], memory: str, state: list[tuple[int, ...]]
    ) -> tuple[NDArray[np.float32], list[tuple[int, ...]]]:
        state = [(*row, int(token)) for row, token in zip(state, tokens, strict=True)]
        return np.log(np.array([self._next(row) for row in state], np.float32)), state

    def reorder(
        self, state: list[tuple[int, ...]], order: NDArray[np.int64]
    ) -> list[tuple[int, ...]]:
        return [state[row] for row in order]

    def _next(self, row: tuple[int, ...]) -> list[float]:
        backward = row[0] == VOCABULARY.eos
        written = VOCABULARY.decode(row[1:])
        probability = np.full(len(VOCABULARY), 1e-9)
        for caption, weight in ((SQUARE, 0.1), (CUBE, 0.9)) if backward else self.known:
            caption = [*caption[::-1], "<sos>"] if backward else [*caption, "<eos>"]
            if caption[: len(written)] == written:
                probability[VOCABULARY.index[caption[len(written)]]] += weight
        probability /= probability.sum()
        return [float(each) for each in probability]


@pytest.fixture
def manifest() -> Manifest:
    images = TensorSpec("images", "float32", ("batch", 1, "height", "width"))
    bias = TensorSpec("memory_bias", "float32", ("batch", "cells"))
    tokens, position = (
        TensorSpec("tokens", "int64", ("beams",)),
        TensorSpec("position", "int64", (1,)),
    )
    log_probs = TensorSpec("log_probs", "float32", ("beams", len(VOCABULARY)))
    return Manifest(
        vocabulary=VOCABULARY,
        interface=Interface(
            GraphSpec((images,), (bias,)), GraphSpec((tokens, position, bias), (log_probs,)), ()
        ),
        preprocessing=Preprocessing("normalised-ink", {"multiple": 16, "max_pixels": 128 * 128}),
        decoding=Decoding(max_length=12),
        variants=(Variant("none", "fp32", "encoder", "step"),),
        provenance={},
        licence="CC0",
    )


@pytest.fixture
def model() -> Reading:
    return Reading()


@pytest.fixture
def recognizer(model: Reading, manifest: Manifest) -> Recognizer:
    return Recognizer(model, manifest)


def inkml() -> str:
    traces = "".join(
        f"<trace>{', '.join(f'{x:g} {y:g}' for x, y in stroke)}</trace>" for stroke in STROKES
    )
    return f'<?xml version="1.0"?>\n<ink xmlns="http://www.w3.org/2003/InkML">{traces}</ink>'


def strokes_json() -> str:
    return json.dumps({"strokes": [stroke.tolist() for stroke in STROKES]})


def test_an_encoder_of_other_images_than_are_made_is_refused(
    model: Reading, manifest: Manifest
) -> None:
    seeing = replace(manifest.preprocessing, name="normalised-ink-and-trail")
    with pytest.raises(BundleError, match=r"4 channels, .*, found one that takes 1; export"):
        Recognizer(model, replace(manifest, preprocessing=seeing))


def test_the_best_reading(recognizer: Recognizer) -> None:
    result = recognizer(STROKES)
    assert result.latex == "x^{2}"
    assert result.tokens == ("x", "^", "{", "2", "}")
    assert result.confidence == pytest.approx(0.6, abs=1e-4)
    assert result.alternatives == ()


def test_the_next_best_readings(recognizer: Recognizer) -> None:
    result = recognizer(STROKES, beam=4, nbest=2)
    assert result.latex == "x^{2}"
    [other] = result.alternatives
    assert (other.latex, other.tokens) == ("x^{3}", ("x", "^", "{", "3", "}"))
    assert other.confidence == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_score_is_what_readings_are_ranked_by(recognizer: Recognizer, beam: int) -> None:
    result = recognizer(STROKES, beam=beam, nbest=min(beam, 2))
    assert result.score == pytest.approx(math.log(0.6) / 6, abs=1e-4)  # six with `<eos>`
    for other in result.alternatives:
        assert other.score == pytest.approx(math.log(0.4) / 6, abs=1e-4)


def test_a_calibrated_bundle_says_how_sure_it_is(model: Reading, manifest: Manifest) -> None:
    calibration = Calibration(1.0, 0.5, 0.0, 0.0)
    result = Recognizer(model, replace(manifest, confidence=calibration))(STROKES, beam=4, nbest=2)
    assert sum(result.token_log_probs) == pytest.approx(math.log(0.6), abs=1e-4)
    assert result.confidence == pytest.approx(calibration(result.token_log_probs))
    [other] = result.alternatives
    assert other.confidence == pytest.approx(calibration(other.token_log_probs))
    assert other.confidence < result.confidence


def test_readings_of_a_beam_have_a_confidence_of_their_own(
    model: Reading, manifest: Manifest
) -> None:
    alone, compared = Calibration(1.0, 0.5, 0.0, 0.0), Calibration(0.0, 0.0, 0.0, 0.0, 1.0)
    calibrated = Recognizer(model, replace(manifest, confidence=alone, beam_confidence=compared))
    greedy = calibrated(STROKES, beam=1)
    assert greedy.margin is None
    assert greedy.confidence == pytest.approx(alone(greedy.token_log_probs))
    best = calibrated(STROKES, beam=4)
    margin = math.log(0.6 / 0.4)
    assert best.margin == pytest.approx(margin, abs=1e-3)
    assert best.confidence == pytest.approx(0.6, abs=1e-3)  # of the two that there are
    again = calibrated(STROKES, beam=4, nbest=2)
    unrivalled = calibrated._alternative(Hypothesis((3,), -0.1, (-0.1,), True, -0.1), [], 4)
    assert unrivalled.margin == FARTHEST
    assert again.confidence == best.confidence
    [other] = again.alternatives
    assert other.margin == pytest.approx(-margin, abs=1e-3)
    assert other.confidence == pytest.approx(0.4, abs=1e-3)


def test_how_sure_a_reading_is_does_not_depend_on_how_many_are_wanted(manifest: Manifest) -> None:
    # the second by its score is long; the likeliest other one is short, and comes last
    long, short = [*"x^{33333}"], ["3"]
    recognizer = Recognizer(Reading([(SQUARE, 0.5), (long, 0.2), (short, 0.3)]), manifest)
    for nbest in (1, 2, 3):
        result = recognizer(STROKES, beam=4, nbest=nbest)
        assert result.latex == "x^{2}"
        assert result.margin == pytest.approx(math.log(0.5 / 0.3), abs=1e-3)


def test_confidence_is_a_probability_however_long_the_search(recognizer: Recognizer) -> None:
    for beam in (1, 4):
        result = recognizer(STROKES, beam=beam, nbest=beam)
        readings = [result.confidence, *(each.confidence for each in result.alternatives)]
        assert all(0 <= confidence <= 1 for confidence in readings)
        assert math.fsum(readings) <= 1 + 1e-6


def test_the_bundle_says_how_to_decode(model: Reading, manifest: Manifest) -> None:
    wide = replace(manifest, decoding=Decoding(max_length=12, beams=3))
    assert len(Recognizer(model, wide)(STROKES, nbest=3).alternatives) == 2
    short = replace(manifest, decoding=Decoding(max_length=3))
    assert Recognizer(model, short)(STROKES, constrain=False).tokens == ("x", "^", "{")


def test_hypotheses_are_ranked_by_both_directions(model: Reading, manifest: Manifest) -> None:
    both = Recognizer(model, replace(manifest, decoding=Decoding(12, beams=4, rescore=True)))
    result = both(STROKES, nbest=2)
    assert result.latex == "x^{3}"
    assert result.score == pytest.approx((math.log(0.4) + math.log(0.9)) / 2 / 6, abs=1e-4)
    assert [each.latex for each in result.alternatives] == ["x^{2}"]
    assert both(STROKES).latex == "x^{3}"
    assert both(STROKES, rescore=False).latex == both(STROKES, beam=1).latex == "x^{2}"


def test_a_decoder_of_one_direction_cannot_rescore(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="exported without --rescore"):
        recognizer(STROKES, beam=4, rescore=True)
    assert recognizer(STROKES, beam=4, rescore=False).latex == "x^{2}"


def test_a_constraint_keeps_formulas_whole(model: Reading, manifest: Manifest) -> None:
    short = Recognizer(model, replace(manifest, decoding=Decoding(max_length=4)))
    tokens = short(STROKES).tokens
    assert tokens.count("{") == tokens.count("}")
    assert len(tokens) <= 3


def test_a_pen_that_has_just_come_down_has_written_nothing(recognizer: Recognizer) -> None:
    nothing: list[Any] = [[], np.empty((0, 2))]
    for begun in nothing:
        assert recognizer([*STROKES, begun]).tokens == recognizer(STROKES).tokens


@pytest.mark.parametrize("width", [2.5, "2"])
def test_widths_that_are_no_whole_numbers_are_refused(recognizer: Recognizer, width: Any) -> None:
    for option in ("beam", "nbest"):
        with pytest.raises(InputError, match=f"{option}: expected a whole number"):
            recognizer(STROKES, **{option: width})


@pytest.mark.parametrize(("beam", "nbest"), [(1, 2), (None, 0), (2, -1)])
def test_more_readings_than_beams_are_refused(
    recognizer: Recognizer, beam: int | None, nbest: int
) -> None:
    with pytest.raises(InputError, match=r"nbest"):
        recognizer(STROKES, beam=beam, nbest=nbest)


@pytest.mark.parametrize("draft", ["x^2", 5, [["x"]], [1], {"x"}])
def test_a_draft_of_what_are_no_tokens_is_refused(recognizer: Recognizer, draft: Any) -> None:
    with pytest.raises(InputError, match=r"draft: expected (a list of )?tokens"):
        recognizer(STROKES, beam=1, draft=draft)


def test_timings_add_up(recognizer: Recognizer) -> None:
    timings = recognizer(STROKES).timings
    parts = (timings.read_ms, timings.encode_ms, timings.decode_ms)
    assert all(part >= 0 for part in parts)
    assert math.fsum(parts) == pytest.approx(timings.total_ms)


def test_all_forms_of_the_same_ink_are_one_image(
    recognizer: Recognizer, model: Reading, tmp_path: Path
) -> None:
    for name, text in (("ink.inkml", inkml()), ("ink.json", strokes_json()), ("ink.png", inkml())):
        (tmp_path / name).write_text(text)  # the last: content tells, not the name
    (tmp_path / "utf-16.inkml").write_text(inkml(), encoding="utf-16")
    sources: list[Any] = [
        STROKES,
        tuple(stroke.tolist() for stroke in STROKES),
        Ink(tuple(STROKES)),
        inkml().encode(),
        b"\xef\xbb\xbf\n  " + strokes_json().encode(),
        json.dumps([stroke.ravel().tolist() for stroke in STROKES]).encode(),
        str(tmp_path / "ink.inkml"),
        tmp_path / "ink.json",
        tmp_path / "ink.png",
        tmp_path / "utf-16.inkml",
    ]
    for source in sources:
        recognizer(source)
    for image in model.images:
        np.testing.assert_array_equal(image, model.images[0])


def test_all_forms_of_the_same_picture_are_one_image(
    recognizer: Recognizer, model: Reading, tmp_path: Path
) -> None:
    drawn = 255 - render_ink(STROKES)
    picture = Image.fromarray(drawn)
    picture.save(tmp_path / "picture.png")
    picture.save(tmp_path / "picture.json", format="png")
    sources: list[Any] = [
        drawn,
        picture,
        tmp_path / "picture.png",
        tmp_path / "picture.json",
        (tmp_path / "picture.png").read_bytes(),
        255 - drawn,
    ]
    for source in sources:
        recognizer(source)
    for image in model.images:
        np.testing.assert_array_equal(image, model.images[0])


def test_what_is_too_large_is_refused(recognizer: Recognizer) -> None:
    line = [stroke + np.array([40.0 * number, 0.0]) for number in range(20) for stroke in STROKES]
    with pytest.raises(InputError, match=r"at most 16384 pixels.*cut the page"):
        recognizer(line)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([], "at least one stroke"),
        ([[]], "at least one stroke"),
        ([[[]]], "as stroke 0"),
        ([[1.0, 2.0], [3.0, 4.0]], r"\[n, 2\].*found \(2,\) as stroke 0"),
        ([[[1, 2]], [[1, 2, 3]]], r"found \(1, 3\) as stroke 1; .*stroke\[:, :2\]"),
        ([["a", "b"]], "as stroke 0"),
        ([[[1.0, math.nan]]], "stroke 0: expected finite coordinates"),
        ([[[1e300, 0.0], [-1e300, 1e308]], [[-1e308, 0.0]]], "finite coordinates"),
        (3, "expected a path, bytes, Ink"),
        (None, "expected a path, bytes, Ink"),
        (b"", "empty file"),
        (b"Dear diary, today", "expected InkML, a JSON of strokes, or an image"),
        (b"\x00\x01\x02\x03" * 9, "the input"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"{", "the input"),
        (b"<html><body/></html>", "the input"),
        (b"\x89PNG\r\n\x1a\n", "the input"),
        (np.zeros((40, 40), np.uint8), "the input"),
        (np.full((40, 40), 255, np.uint8), "the input"),
        (np.zeros((1, 1), np.uint8), "the input"),
        (np.zeros((3, 4, 5, 6)), "the input"),
    ],
    ids=range(21),
)
def test_bad_input_is_named_and_refused(recognizer: Recognizer, source: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        recognizer(source)
    assert "the in" in str(error.value)
    with pytest.raises(InputError, match="box 7"):
        recognizer(source, name="box 7")


def test_files_that_cannot_be_read_are_named(recognizer: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("a text file that is called an image")
    (tmp_path / "empty.inkml").touch()
    (tmp_path / "cut.inkml").write_text(inkml()[:-20])
    for name, said in (
        ("nowhere.inkml", "found nothing"),
        ("", "found a folder"),
        ("notes.png", "found text that starts with"),
        ("empty.inkml", "empty"),
        ("cut.inkml", "cut.inkml"),
        ("a\0b", "cannot be read"),
    ):
        path = tmp_path / name if name else tmp_path
        with pytest.raises(InputError, match=said) as error:
            recognizer(path)
        assert str(path) in str(error.value)


def test_an_empty_path_is_no_folder(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="the path of a file, found an empty one"):
        recognizer("")


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads without permission"
)
def test_a_file_without_permission_is_named(recognizer: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "secret.inkml").write_text(inkml())
    (tmp_path / "secret.inkml").chmod(0)
    with pytest.raises(InputError, match=r"secret\.inkml: cannot be read \(Permission denied\)"):
        recognizer(tmp_path / "secret.inkml")


def test_one_dot_is_ink(recognizer: Recognizer) -> None:
    assert recognizer([[[5.0, 5.0]]]).latex


@pytest.mark.parametrize(
    ("preprocessing", "said"),
    [
        (Preprocessing("colourful"), "pip install --upgrade inktex"),
        (Preprocessing("normalised-ink", {"multiple": 16}), "max_pixels: expected a whole number"),
        (Preprocessing("normalised-ink", {"multiple": 0, "max_pixels": 9}), "multiple: expected"),
        (Preprocessing("normalised-ink", {"multiple": True, "max_pixels": 9}), "found True"),
    ],
)
def test_a_bundle_that_wants_other_images_is_refused(
    model: Reading, manifest: Manifest, preprocessing: Preprocessing, said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        Recognizer(model, replace(manifest, preprocessing=preprocessing))


def test_a_model_of_another_vocabulary_is_refused(model: Reading, manifest: Manifest) -> None:
    fewer = Vocabulary(VOCABULARY.tokens[:-1])
    with pytest.raises(InktexError, match="vocabulary"):
        Recognizer(model, replace(manifest, vocabulary=fewer))(STROKES)
