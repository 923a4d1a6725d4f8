from __future__ import annotations

import json

import pytest

from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.latency import Distribution, StepClock, measure_latency
from inktex.core.bundle import Bundle, Variant
from inktex.core.errors import DataError
from inktex.runtimes import load


def test_a_row_for_every_way_and_a_ratio_for_every_other_variant(
    tiny_bundle: Bundle, both: list[Variant], formulas: list[Formula]
) -> None:
    report = measure_latency(tiny_bundle, formulas, variants=both, beams=(1, 3), warm_up=2)
    ways = [(row.variant, row.beams) for row in report.rows]
    assert ways == [
        (name, beams) for name in ("onnxruntime fp32", "onnxruntime int8") for beams in (1, 3)
    ]
    assert [(each.variant, each.base, each.beams) for each in report.ratios] == [
        ("onnxruntime int8", "onnxruntime fp32", 1),
        ("onnxruntime int8", "onnxruntime fp32", 3),
    ]
    recognizer = load(tiny_bundle)
    for row in report.rows:
        answers = [recognizer(each.source, beam=row.beams) for each in formulas]
        assert row.formulas == len(formulas)
        assert row.tokens == Distribution.of([len(each.tokens) for each in answers])
        assert row.encode_ms.p50 <= row.total_ms.p50
        assert 0 < row.graph_share < 1
    greedy, beam = report.rows[:2]
    # greedy steps once for each token and for <eos>, unless it is cut off at the greatest length
    longest = tiny_bundle.manifest.decoding.max_length
    lengths = [len(recognizer(each.source, beam=1).tokens) for each in formulas]
    assert greedy.steps == pytest.approx(
        sum(min(length + 1, longest) for length in lengths) / len(lengths)
    )
    assert beam.steps <= longest
    json.dumps(report.to_dict())
    assert str(report).count("\n") == 1 + 4 + 1 + 2 + 2


def test_what_cannot_be_read_is_left_out_of_every_row(
    tiny_bundle: Bundle, both: list[Variant], formulas: list[Formula]
) -> None:
    broken = Formula("broken.json", b"{")
    report = measure_latency(
        tiny_bundle, [broken, *formulas[:3], broken], variants=both, beams=(1,)
    )
    assert report.skipped == 2
    assert [row.formulas for row in report.rows] == [3, 3]
    with pytest.raises(DataError, match="found none"):
        measure_latency(tiny_bundle, [broken], variants=both[:1], beams=(1,))


def test_the_clock_changes_no_answer(tiny_bundle: Bundle, formulas: list[Formula]) -> None:
    plain, timed = load(tiny_bundle), load(tiny_bundle)
    timed.model = clock = StepClock(timed.model)
    for formula in formulas:
        expected, found = (each(formula.source, beam=3, nbest=3) for each in (plain, timed))
        assert (found.tokens, found.alternatives) == (expected.tokens, expected.alternatives)
    assert clock.steps > len(formulas)
    assert clock.vocabulary_size == plain.model.vocabulary_size


def test_percentiles() -> None:
    assert Distribution.of([4.0, 1.0, 2.0, 3.0, 10.0]).p50 == 3.0
    assert Distribution.of(list(range(101))).p90 == 90.0
