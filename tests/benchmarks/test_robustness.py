from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from inktex.benchmarks.robustness import (
    Condition,
    backwards,
    conditions,
    half_of_the_points,
    measure_robustness,
    photo,
    picture,
    rotation,
    shuffled,
)
from inktex.core.bundle import Bundle
from inktex.core.errors import DataError, InputError
from inktex.training.inkset import Expression, save_inkset

RNG = np.random.default_rng(0)
STROKES = [
    np.array([(0, 0), (5, 30), (10, 60), (12, 62)], float),
    np.array([(30, 10), (60, 50)], float),
    np.array([(60, 10), (30, 50)], float),
]
FORMULA = Expression("made", "", ("1", "x"), tuple(s.astype(np.float32) for s in STROKES), ((), ()))


class Reader:
    """Reads `1 x` in what is higher than wide, nothing in images, and chokes on few points."""

    def __call__(self, source: Any, *, beam: int | None = None) -> Any:
        if isinstance(source, bytes):
            return Answer((), 0.5)
        if len(source[0]) < 4:
            raise InputError("too few points")
        points = np.concatenate(source)
        high = np.ptp(points[:, 1]) > np.ptp(points[:, 0])
        return Answer(("1", "x") if high else ("x",), 0.5)


class Answer:
    def __init__(self, tokens: tuple[str, ...], confidence: float) -> None:
        self.tokens, self.confidence = tokens, confidence


def test_every_condition_changes_what_is_read_but_the_plain_ones() -> None:
    known = conditions()
    assert len({each.name for each in known}) == len(known)
    assert {each.kind for each in known} == {"ink", "image"}
    for each in known:
        made = each.make(STROKES, np.random.default_rng(3))
        again = each.make(STROKES, np.random.default_rng(3))
        if each.kind == "image":
            assert made == again
            with Image.open(io.BytesIO(made)) as image:
                assert min(image.size) > 10
        else:
            assert all(map(np.array_equal, made, again))
            changed = not all(map(np.array_equal, made, STROKES))
            assert changed == (each.name != "as written")


def test_conditions_are_chosen_with_the_plain_one_of_their_kind() -> None:
    assert [each.name for each in conditions("turned by +5")] == [
        "as written",
        "turned by +5 degrees",
    ]
    assert conditions("photo")[0].name == "clean bitmap"
    assert len(conditions("as written")) == 1
    with pytest.raises(DataError, match="expected words from the name of a condition, found 'fog'"):
        conditions("fog")


def test_half_of_the_points_keeps_the_ends() -> None:
    kept = half_of_the_points(STROKES, RNG)
    np.testing.assert_array_equal(kept[0], STROKES[0][[0, 2, 3]])
    np.testing.assert_array_equal(kept[1], STROKES[1])


def test_another_order_leaves_the_ink() -> None:
    made = shuffled(STROKES, np.random.default_rng(3))
    assert [len(each) for each in made] != [len(each) for each in STROKES] or any(
        not np.array_equal(a, b) for a, b in zip(made, STROKES, strict=True)
    )
    ordered = sorted(np.sort(each, axis=0).tolist() for each in made)
    assert ordered == sorted(np.sort(each, axis=0).tolist() for each in STROKES)


def test_strokes_backwards_are_in_their_order() -> None:
    many = [np.array([[0.0, number], [9.0, number]]) for number in range(40)]
    made = backwards(many, np.random.default_rng(0))
    turned = [np.array_equal(one, other[::-1]) for one, other in zip(made, many, strict=True)]
    assert 10 <= sum(turned) <= 30
    same = [np.array_equal(one, other) for one, other in zip(made, many, strict=True)]
    assert [not each for each in same] == turned


def test_a_rotation_is_clockwise_as_seen() -> None:
    np.testing.assert_allclose(rotation(90) @ [1, 0], [0, 1], atol=1e-12)


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_a_photo_shows_the_ink_on_paper(severity: float) -> None:
    content = photo(STROKES, np.random.default_rng(0), severity)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "JPEG"
        gray = np.asarray(image.convert("L")).astype(float)
    assert gray.mean() > 90
    assert gray.min() < gray.mean() - 60  # ink
    assert gray[:5, :5].mean() > 60  # no hole in the corner
    if severity:
        assert gray.std() > 5


def test_changes_are_against_the_plain_one_of_the_kind() -> None:
    flat = Condition("lying", "ink", lambda strokes, rng: [each[:, ::-1] * 1.0 for each in strokes])
    chosen = (*conditions("half of the points"), flat, *conditions("photo, even"))
    seen: list[str] = []
    outcomes = measure_robustness(
        Reader(),  # type: ignore[arg-type]
        [FORMULA] * 4,
        chosen,
        finished=lambda outcome: seen.append(outcome.condition.name),
    )
    assert seen == [each.name for each in chosen]
    exact = {each.condition.name: each.score.exact for each in outcomes}
    change = {each.condition.name: each.change for each in outcomes}
    unread = {each.condition.name: each.unread for each in outcomes}
    assert exact["as written"] == 1.0
    assert (exact["half of the points"], unread["half of the points"]) == (0.0, 4)
    assert change["half of the points"] == -100
    assert change["clean bitmap"] == change["photo, even light"] == 0
    assert len(outcomes[0].cells()) == 7


def test_formulas_must_be_ink() -> None:
    image = Expression("image", "", ("1",), (), ((),), np.full((20, 20), 255, np.uint8))
    for given in ([], [FORMULA, image]):
        with pytest.raises(DataError, match="expected formulas of ink"):
            measure_robustness(Reader(), given, conditions())  # type: ignore[arg-type]
    unlabelled = replace(FORMULA, caption=(), ink=())
    with pytest.raises(DataError, match="expected a caption of every formula"):
        measure_robustness(Reader(), [unlabelled], conditions())  # type: ignore[arg-type]


def test_a_bundle_reads_under_every_condition(
    tiny_bundle: Bundle, tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    save_inkset(tmp_path / "made.inkset", [FORMULA])
    arguments = ("benchmark", "robustness", tiny_bundle.path, tmp_path / "made.inkset")
    report, sheet = tmp_path / "robustness.json", tmp_path / "sheet.png"
    done = inktex(*arguments, "--json", report, "--sheet", sheet, "--beam", "1")
    assert done.exit_code == 0, done.output
    assert "| photo, even light | image | 1 |" in done.output
    rows = json.loads(report.read_text())["rows"]
    assert [each["condition"] for each in rows] == [each.name for each in conditions()]
    assert [each["unread"] for each in rows] == [0] * len(rows)
    options = json.loads(report.read_text())["options"]
    read_by = options["runtime"], options["precision"]
    assert read_by in {(each.target, each.precision) for each in tiny_bundle.manifest.variants}
    with Image.open(sheet) as page:
        assert page.height > 20 * len(rows)
    failed = inktex(*arguments, "--sheet", tmp_path / "no" / "sheet.png")
    assert (failed.exit_code, "in an existing folder" in failed.output) == (2, True)


def test_a_picture_shows_all_conditions() -> None:
    some, more = (picture(FORMULA, conditions(words)) for words in ("photo", ""))
    assert more.height > some.height > 200
