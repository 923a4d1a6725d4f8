from __future__ import annotations

import dataclasses
import doctest
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inktex.core import metrics as module
from inktex.core.errors import InputError
from inktex.core.metrics import (
    edit_distance,
    exp_rate,
    normalized_exp_rate,
    score,
    token_error_rate,
    wilson_interval,
)

sequences = st.lists(st.sampled_from(["x", "y", "^", "{", "}", r"\frac"]), max_size=7)
pairs = st.lists(st.tuples(sequences.filter(bool), sequences), min_size=1, max_size=6)


def words(*captions: str) -> list[list[str]]:
    return [caption.split() for caption in captions]


def naive_distance(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """The definition, written as a recursion: an independent check of the table."""

    @functools.cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(
            distance(i - 1, j) + 1,
            distance(i, j - 1) + 1,
            distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]),
        )

    return distance(len(a), len(b))


def test_the_examples_in_the_docstrings() -> None:
    found = doctest.testmod(module)
    assert found.attempted >= 8
    assert found.failed == 0


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ("", "", 0),
        ("x", "", 1),
        ("", "x y", 2),
        ("k i t t e n", "s i t t i n g", 3),
        (r"x ^ { 2 }", r"x _ { 2 }", 1),
        (r"\frac { 1 } { 2 }", r"\frac { 1 } { 2", 1),
        ("a b c d", "b c d a", 2),
    ],
)
def test_edit_distance_of_known_pairs(reference: str, prediction: str, expected: int) -> None:
    assert edit_distance(reference.split(), prediction.split()) == expected


@given(sequences, sequences)
def test_edit_distance_is_the_recursive_definition(a: list[str], b: list[str]) -> None:
    assert edit_distance(a, b) == naive_distance(tuple(a), tuple(b))


@given(sequences, sequences, sequences)
def test_edit_distance_is_a_metric(a: list[str], b: list[str], c: list[str]) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_tolerance_counts_token_edits() -> None:
    references = words("x + 1", "x + 1", "x + 1", "x + 1")
    predictions = words("x + 1", "x - 1", "y - 1", "")
    rates = [exp_rate(references, predictions, tolerance) for tolerance in range(4)]
    assert rates == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("reference", "prediction", "equal"),
    [
        (r"\sum \limits _ { i } x", r"\sum _ { i } x", True),
        ("x _ { 1 } ^ { 2 }", "x ^ { 2 } _ { 1 }", True),
        ("x ^ { 2 }", "{ x } ^ 2", True),
        ("x ^ { 2 }", "x _ { 2 }", False),
        ("x ^ { 2 } y", "x ^ { 2 y }", False),
        ("x ^ { 2 }", "x ^ { 2", False),
        ("x ^ { 2 }", "x ^ { 2 } ^ { 2 }", False),
        ("x ^ { 2 }", "", False),
    ],
)
def test_normalized_rate_compares_layouts(reference: str, prediction: str, equal: bool) -> None:
    assert normalized_exp_rate(words(reference), words(prediction)) == float(equal)


def test_a_malformed_reference_can_only_be_repeated() -> None:
    malformed = words("x ^ { 2", "x ^ { 2")
    assert normalized_exp_rate(malformed, words("x ^ { 2", "x ^ { 2 }")) == 0.5


def test_token_error_rate_is_over_all_tokens_not_a_mean_of_rates() -> None:
    # 1 edit in 1 token and 1 edit in 9: 2 / 10, while the mean of the rates is 0.56.
    references, predictions = words("x", "a b c d e f g h i"), words("y", "a b c d e f g h")
    assert token_error_rate(references, predictions) == pytest.approx(0.2)


@given(pairs)
def test_score_agrees_with_the_single_metrics(found: list[tuple[list[str], list[str]]]) -> None:
    references, predictions = [r for r, _ in found], [p for _, p in found]
    result = score(references, predictions)
    assert result.count == len(found)
    assert result.exact == exp_rate(references, predictions)
    assert result.within_1 == exp_rate(references, predictions, 1)
    assert result.within_2 == exp_rate(references, predictions, 2)
    assert result.normalized == normalized_exp_rate(references, predictions)
    assert result.token_error_rate == token_error_rate(references, predictions)
    assert result.exact <= result.within_1 <= result.within_2 <= 1
    assert result.exact <= result.normalized
    low, high = result.exact_interval
    assert 0 <= low <= result.exact <= high <= 1


def test_score_is_frozen_and_goes_to_json() -> None:
    result = score(words("x", "y + 1"), words("x", "y - 1"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.count = 3  # type: ignore[misc]
    told = json.loads(json.dumps(result.to_dict()))
    assert {key: told[key] for key in ("count", "exact", "exact_count", "within_1", "edits")} == {
        "count": 2,
        "exact": 0.5,
        "exact_count": 1,
        "within_1": 1.0,
        "edits": 1,
    }
    assert told["exact_interval"] == pytest.approx(list(result.exact_interval))
    assert told["token_error_rate"] == 0.25


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_of_published_cases(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_what_is_no_rate(successes: int, trials: int) -> None:
    with pytest.raises(InputError, match="trials"):
        wilson_interval(successes, trials)


@pytest.mark.parametrize("metric", [exp_rate, normalized_exp_rate, token_error_rate, score])
@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ([], [], "at least one"),
        ([["x"]], [], "1 references and 0 predictions"),
        ([["x"]], [["x"], ["y"]], "1 references and 2 predictions"),
        (["x"], [["x"]], "found the string 'x'"),
        ([["x"]], ["x"], "found the string 'x'"),
        ("x", "y", "found the string"),
    ],
)
def test_metrics_refuse_what_cannot_be_compared(
    metric: object, references: Sequence[object], predictions: Sequence[object], message: str
) -> None:
    assert callable(metric)
    with pytest.raises(InputError, match=message):
        metric(references, predictions)


def test_a_negative_tolerance_and_empty_references_are_refused() -> None:
    with pytest.raises(InputError, match="-1"):
        exp_rate([["x"]], [["x"]], tolerance=-1)
    with pytest.raises(InputError, match="empty"):
        token_error_rate([[]], [["x"]])


def test_real_captions_scored_against_themselves_with_known_damage(data_root: Path) -> None:
    lines = (data_root / "crohme" / "images" / "2016.tsv").read_text().splitlines()
    references = [line.split("\t")[-1].split(" ") for line in lines]
    assert score(references, references).exact == 1.0

    predictions = [list(reference) for reference in references]
    predictions[0].append("x")  # 1 edit
    predictions[1] += ["x", "x"]  # 2 edits
    predictions[2] += ["{", "x", "x"]  # 3 edits, malformed
    stripped = 0  # \limits left out: 1 edit or more, the same layout
    for prediction in predictions[3:]:
        if prediction.count(r"\limits") == 1:
            prediction.remove(r"\limits")
            stripped += 1
    result = score(references, predictions)
    assert stripped > 50
    assert result.exact_count == len(references) - 3 - stripped
    assert result.within_1_count == len(references) - 2
    assert result.within_2_count == len(references) - 1
    assert result.normalized_count == len(references) - 3
    assert result.edits == 6 + stripped
