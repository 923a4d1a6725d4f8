from __future__ import annotations

import numpy as np
import pytest

from inktex.core.errors import DataError
from inktex.training.inkset import Expression
from inktex.training.synthesis.geometry import Box
from inktex.training.synthesis.samples import (
    Gap,
    Half,
    Hanging,
    Inside,
    Overhang,
    Samples,
    hanging_keys,
    matched,
)

from .formulas import box, brackets, fraction, pair, power, root, written

PAIRS = [pair(size) for size in (8.0, 10.0, 14.0)] * 4
RNG = np.random.default_rng(0)


def test_symbols_are_kept_relative_to_their_line() -> None:
    samples = Samples.collect(PAIRS)
    assert len(samples.glyphs["1", None]) == 12
    for glyph in samples.glyphs["1", None]:
        assert glyph.box == pytest.approx(Box(0, -0.5, 0.2, 0.5), abs=1e-2)
        assert glyph.inner is None
        np.testing.assert_allclose(glyph.strokes[0], [(0, -0.5), (0.2, 0.5)], atol=1e-2)


def test_gaps_are_in_sizes() -> None:
    gap = Samples.collect(PAIRS).related(Gap, [("digit", "digit"), "gap"], RNG)
    assert gap.across == pytest.approx(0.3, abs=1e-2)


def test_scripts_hang_on_the_side_of_their_base() -> None:
    samples = Samples.collect([*PAIRS, *[power()] * 8])
    found = samples.related(Hanging, hanging_keys("superscript", "2"), RNG)
    assert found.beside == 1
    assert found.across == pytest.approx(0.1, abs=0.02)
    assert found.down == pytest.approx(0.0, abs=0.1)


def test_scripts_hang_on_a_symbol_as_on_others_of_its_shape() -> None:
    def with_subscript(letter: str, bottom: float) -> Expression:
        return written(
            f"1 {letter} _ {{ 2 }}",
            [box(0, -5, 2, 5), box(5, -3, 10, bottom), box(11, 3, 13, 9)],
        )

    both = [with_subscript("x", 3), with_subscript("y", 9)] * 20
    samples = Samples.collect([*PAIRS, *both])
    for letter, down in (("x", 0.3), ("y", -0.3)):  # of a size, from the letter's bottom
        keys = hanging_keys("subscript", letter)
        found = [samples.related(Hanging, keys, RNG).down for _ in range(20)]
        assert found == pytest.approx([down] * 20, abs=0.1)
    others = [samples.related(Hanging, hanging_keys("subscript", "a"), RNG).down for _ in range(40)]
    assert min(others) < 0 < max(others)  # as on any letter


def test_limits_stand_above_and_below() -> None:
    sums = [
        written(
            "\\sum \\limits _ { 1 } 2",
            [box(0, -8, 10, 8), box(4, 10, 5, 16), box(12, -5, 17, 5)],
        )
    ] * 8
    found = Samples.collect([*PAIRS, *sums]).related(
        Hanging, hanging_keys("lower limit", "\\sum"), RNG
    )
    assert found.beside == 0
    assert found.across == pytest.approx(-0.05, abs=0.02)
    assert found.down > 0


def test_fractions_and_roots_are_measured() -> None:
    samples = Samples.collect([*PAIRS, *[fraction()] * 8, *[root(digits=2)] * 8])
    half = samples.related(Half, ["numerator"], RNG)
    over = samples.related(Overhang, ["bar"], RNG)
    inside = samples.related(Inside, ["radicand"], RNG)
    assert half.gap > 0.1
    assert over.left > over.right > 0  # 0.4 and 0.2 of a size
    assert 0.5 < inside.ratio < 1.5
    [sign, *_] = samples.glyphs["\\sqrt", None]
    assert sign.inner is not None
    assert sign.inner.left > 0.3
    assert sign.inner.right < sign.box.right


def test_brackets_know_what_they_are_around() -> None:
    samples = Samples.collect([*PAIRS, *[brackets()] * 3])
    for token in "()":
        [glyph, *_] = samples.glyphs[token, None]
        assert glyph.inner is not None
        assert glyph.box.top < glyph.inner.top < glyph.inner.bottom < glyph.box.bottom


def test_a_writer_keeps_to_his_own_symbols_where_he_has_some() -> None:
    narrow, wide = (
        pair(10, writer="one"),
        written("1 3", [box(0, -5, 6, 5), box(8, -5, 14, 5)], "two"),
    )
    samples = Samples.collect([narrow, wide])
    assert all(samples.glyph("1", "one", RNG).box.width < 0.3 for _ in range(20))
    assert all(samples.glyph("1", "two", RNG).box.width > 0.3 for _ in range(20))
    assert samples.glyph("3", "one", RNG).box.width > 0.3  # as somebody else writes it
    assert len({samples.glyph("1", "", RNG).box.width for _ in range(20)}) == 2


def test_a_sign_is_chosen_that_was_around_the_like() -> None:
    bar, above, below = box(4, 0, 12, 0), box(6, -14, 8, -4), box(6, 4, 11, 14)
    tall = written(
        "( \\frac { 1 } { 2 } )", [box(0, -16, 2, 16), bar, above, below, box(14, -16, 16, 16)]
    )
    samples = Samples.collect([*PAIRS, *[brackets()] * 6, *[tall] * 6])
    low = [samples.glyph("(", "", RNG, 1.0).box.height for _ in range(20)]
    high = [samples.glyph("(", "", RNG, 9.0).box.height for _ in range(20)]
    assert np.mean(low) < np.mean(high)


def test_few_special_samples_give_way_to_all() -> None:
    samples = Samples.collect([*PAIRS, *[power()] * 8])
    assert samples.related(Hanging, hanging_keys("superscript", "\\sum"), RNG).ratio < 1
    with pytest.raises(DataError, match="show no index"):
        samples.related(Hanging, hanging_keys("index", "\\sqrt"), RNG)


def test_what_is_far_out_is_left_out() -> None:
    far = written("1 2", [box(0, -5, 2, 5), box(300, -5, 305, 5)])
    samples = Samples.collect([*PAIRS * 10, far])
    gaps = [each[0] for each in samples.relations[Gap, "gap"]]
    assert max(gaps) < 1


def test_ink_of_which_nothing_is_known_is_refused() -> None:
    unknown = written("a b", [box(0, 0, 1, 1)] * 2)
    unknown = type(unknown)("u", "", unknown.caption, unknown.strokes, ((), ()))
    with pytest.raises(DataError, match="expected ink whose strokes are known by symbol"):
        Samples.collect([unknown])


def test_brackets_match_by_their_kind() -> None:
    assert matched(["(", "a", "[", "b", "]", ")"]) == [(2, 4), (0, 5)]
    assert matched([")", "a", "("]) == []
    assert matched(["(", "]"]) == []
