from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from inktex.training.inkset import Expression
from inktex.training.synthesis.geometry import Box, box_of, middle, union
from inktex.training.synthesis.layout import Laid, Layout
from inktex.training.synthesis.samples import Samples
from inktex.training.synthesis.tree import Row, caption, written_tree

from .formulas import box, brackets, fraction, pair, power, root, written

SOURCES = [
    *[pair()] * 6,
    *[power()] * 6,
    *[fraction()] * 6,
    *[root()] * 6,
    *[brackets()] * 6,
    *[written("1 + 2", [box(0, -5, 2, 5), box(4, -2, 8, 2), box(10, -5, 15, 5)])] * 6,
]


def tree(text: str) -> Row:
    """The tree of a caption, whatever its ink."""
    marks = ("{", "}", "^", "_", "\\limits", "[", "]")
    count = sum(token not in marks for token in text.split())
    made = written_tree(written(text, [box(0, 0, 1, 1)] * count))
    assert made is not None
    return made


def lay(text: str, seed: int = 0, sources: list[Expression] | None = None) -> Laid:
    samples = Samples.collect(SOURCES if sources is None else sources)
    return Layout(samples, "", np.random.default_rng(seed)).row(tree(text))


def boxes(laid: Laid) -> list[Box]:
    return [box_of(placed.strokes) for placed in laid.placed]


@pytest.mark.parametrize(
    "text",
    [
        "1 2 1 + 2",
        "1 ^ { 2 ^ { 1 } } + 2",
        r"\frac { 1 ^ { 2 } + 1 } { 2 }",
        r"\sqrt { \frac { 1 } { 2 } } 2",
        r"( \frac { 1 } { 2 } + 1 ) ^ { 2 }",
    ],
)
def test_ink_comes_in_the_order_of_the_caption_and_fills_the_box(text: str) -> None:
    laid = lay(text)
    inked = [node for _, node in caption(tree(text)) if node is not None]
    assert [placed.node.token for placed in laid.placed] == [node.token for node in inked]
    assert laid.box == pytest.approx(union(boxes(laid)))


def test_a_row_goes_from_left_to_right_on_one_line() -> None:
    found = boxes(lay("1 + 2 1"))
    assert all(left.right < right.left for left, right in pairwise(found))
    assert found[0].top == pytest.approx(found[3].top, abs=0.05)


def test_an_exponent_is_smaller_and_to_the_upper_right() -> None:
    base, exponent = boxes(lay("1 ^ { 2 }"))
    assert exponent.height < 0.8 * base.height
    assert exponent.left > base.right
    assert base.top < exponent.bottom < middle_height(base)


def test_a_bar_is_as_long_as_what_stands_on_it() -> None:
    short = boxes(lay(r"\frac { 1 } { 2 }"))
    bar, *parts = boxes(lay(r"\frac { 1 + 2 + 1 + 2 } { 2 }"))
    assert bar.width > 2 * short[0].width
    assert bar.left < min(part.left for part in parts)
    assert bar.right > max(part.right for part in parts)
    *numerator, denominator = parts
    assert max(part.bottom for part in numerator) < bar.top
    assert denominator.top > bar.bottom
    assert middle(denominator) == pytest.approx(middle(bar), abs=0.3 * bar.width)


def test_a_root_reaches_around_what_is_under_it() -> None:
    for text in (r"\sqrt { 1 }", r"\sqrt { \frac { 1 } { 2 } + 1 + 2 }"):
        sign, *inside = boxes(lay(text))
        around = union(inside)
        assert sign.left < around.left < around.right < sign.right
        assert sign.top < around.top < around.bottom < sign.bottom


def test_brackets_are_as_high_as_what_is_between_them() -> None:
    low, *_ = boxes(lay("( 1 )"))
    high, *inside, closing = boxes(lay(r"( \frac { 1 } { 2 } )"))
    assert high.height > 1.3 * low.height
    around = union(inside)
    for each in (high, closing):
        assert each.top < around.top
        assert each.bottom > around.bottom


def test_brackets_without_partner_or_content_are_written_as_they_are() -> None:
    for text in ("( 1", "1 )", "( )"):
        assert len(boxes(lay(text))) == len(text.split())


def test_the_index_of_a_root_stands_before_its_row_in_the_caption() -> None:
    indexed = written(
        "\\sqrt [ 2 ] { 1 }", [box(0, -7, 10, 7), box(0, -8, 2, -4), box(5, -5, 7, 5)]
    )
    laid = lay("\\sqrt [ 2 ] { 1 }", sources=[*SOURCES, *[indexed] * 4])
    assert [placed.node.token for placed in laid.placed] == ["\\sqrt", "2", "1"]
    sign, index, row = boxes(laid)
    assert index.height < row.height
    assert index.left < row.left
    assert middle_height(index) < middle_height(sign)


def test_layouts_depend_on_the_seed_alone() -> None:
    sources = [*SOURCES, *[written("1 2", [box(0, -5, 1, 5), box(7, -4, 12, 5)])] * 6]
    one, same, other = (boxes(lay("1 2 1 2", seed, sources)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def middle_height(each: Box) -> float:
    return (each.top + each.bottom) / 2
