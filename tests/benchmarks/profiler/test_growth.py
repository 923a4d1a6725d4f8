from __future__ import annotations

from dataclasses import replace

import pytest

from inktex.benchmarks.profiler.contender import Configuration
from inktex.benchmarks.profiler.distribution import Distribution
from inktex.benchmarks.profiler.growth import growths
from inktex.benchmarks.profiler.measurement import Measurement, Point


def measured(beams: int, threads: int) -> Measurement:
    """The encoder takes 2 ms and 50 more for each megapixel, of which half is shared out; a step
    0.3 ms and 0.1 for each beam."""
    step_ms = 0.3 + 0.1 * beams
    points = [
        Point(area, steps, steps, 2 + 50 * area / 1e6, steps * step_ms, 0.0)
        for area, steps in ((10_000, 3), (20_000, 9), (40_000, 14), (50_000, 31), (90_000, 30))
    ]
    own = Configuration("inktex", "ort", "fp32", threads, beams)
    return Measurement(
        own.label, own, True, Distribution.of([1.0]), {}, {},
        {"encode": 2 + 2 / threads, "step": 0.9 * 20 * step_ms, "search": 0.1 * 20 * step_ms},
        20.0, 20.0, 1.0, None, points,
    )  # fmt: skip


def test_laws_are_found_again() -> None:
    found = growths([measured(beams, threads) for beams in (1, 5, 10) for threads in (1, 2, 4)])
    image = next(each for each in found if each.what == "encoder over image")
    assert (image.fixed, image.slope) == pytest.approx((2, 0.05))
    assert image.explained == pytest.approx(1)
    steps = next(each for each in found if each.what == "decoder over steps")
    assert (steps.fixed, steps.slope) == pytest.approx((0, 0.4), abs=1e-9)
    assert steps.exponent == pytest.approx(1)
    beams = next(each for each in found if each.what == "step over beams")
    assert (beams.fixed, beams.slope) == pytest.approx((0.3, 0.1))
    threads = next(each for each in found if each.what == "encoder over threads")
    assert (threads.fixed, threads.slope) == pytest.approx((2, 2))
    assert threads.at(4) == pytest.approx(2.5)
    assert [x for x, _ in threads.points] == [1, 2, 4]
    assert "2 + 2 / threads ms" in threads.law


def test_a_peer_has_no_law_over_images_that_it_did_not_see() -> None:
    one = measured(1, 1)
    peer = replace(one, configuration=replace(one.configuration, system="abm"))
    assert [each.what for each in growths([peer])] == ["decoder over steps"]


def test_gathering_of_beams_is_part_of_a_step() -> None:
    both = [measured(beams, 1) for beams in (1, 5)]
    for each in both:
        each.stages_ms["adapter"] = 20 * 0.05 * each.configuration.beams
    [law] = [each for each in growths(both) if each.what == "step over beams"]
    assert (law.fixed, law.slope) == pytest.approx((0.3, 0.15))


def test_too_little_gives_no_law() -> None:
    one = measured(1, 1)
    assert growths([replace(one, points=one.points[:4])]) == []
    assert growths([replace(one, stages_ms={})]) == []
