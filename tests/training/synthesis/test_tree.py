from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inktex.training.data_import import import_data
from inktex.training.import_settings import ImportSettings
from inktex.training.inkset import Expression
from inktex.training.synthesis.tree import caption, written_tree

from .formulas import box, fraction, pair, power, root, written

DOT = box(0, 0, 1, 1)


def tokens_of(expression: Expression) -> tuple[str, ...]:
    tree = written_tree(expression)
    assert tree is not None
    return tuple(token for token, _ in caption(tree))


@pytest.mark.parametrize(
    "text",
    [
        "1 2",
        "a _ { 1 } ^ { 2 } b",
        r"\frac { a + b } { \sqrt { c } } - d",
        r"\sum \limits _ { i = 1 } ^ { n } i",
        r"\lim \limits _ { x \rightarrow 0 } f ( x )",
        r"\sqrt [ 3 ] { x [ y ] } ^ { 2 }",
    ],
)
def test_a_tree_writes_the_caption_that_it_was_read_from(text: str) -> None:
    marks = ("{", "}", "^", "_", "\\limits")
    tokens = text.split()
    inked = [token not in marks for token in tokens]
    if r"\sqrt" in tokens[:1]:  # the brackets of an index are none, those of its row are
        inked[1] = inked[3] = False
    numbers = iter(range(sum(inked)))
    ink = tuple((next(numbers),) if has else () for has in inked)
    expression = Expression("made", "", tuple(tokens), (DOT,) * sum(inked), ink)
    assert tokens_of(expression) == tuple(tokens)


def test_every_symbol_knows_its_strokes() -> None:
    tree = written_tree(fraction())
    assert tree is not None
    [node] = tree
    assert node.strokes == (0,)
    assert [(role, row[0].token, row[0].strokes) for role, row in node.parts()] == [
        ("numerator", "1", (1,)),
        ("denominator", "2", (2,)),
    ]
    assert [node and node.token for _, node in caption(tree)] == [
        *("\\frac", None, "1", None, None, "2", None)
    ]


def test_parts_are_exchanged_in_the_order_of_the_caption() -> None:
    tree = written_tree(written("a _ { 1 } ^ { 2 }", [DOT] * 3))
    other = written_tree(pair())
    assert tree is not None
    assert other is not None
    node = tree[0].with_parts([other, tree])
    written_anew = " ".join(token for token, _ in caption((node,)))
    assert written_anew == "a _ { 1 2 } ^ { a _ { 1 } ^ { 2 } }"


def test_limits_are_told_from_scripts() -> None:
    tree = written_tree(written("\\sum \\limits _ { i } ^ { n }", [DOT] * 3))
    assert tree is not None
    assert [role for role, _ in tree[0].parts()] == ["lower limit", "upper limit"]
    tree = written_tree(power())
    assert tree is not None
    assert [role for role, _ in tree[0].parts()] == ["superscript"]
    tree = written_tree(root())
    assert tree is not None
    assert [role for role, _ in tree[0].parts()] == ["radicand"]


@pytest.mark.parametrize(
    ("text", "strokes", "ink"),
    [
        ("a + b", 3, ((0,), (1,), ())),  # b has no ink
        ("a + b", 3, ((0,), (1,), (1,))),  # two symbols share a stroke, one has none
        ("a + b", 4, ((0,), (1,), (2,))),  # nobody's stroke
        (r"\hat { x }", 2, ((0,), (), (1,), ())),  # not laid out
        ("^ { 2 }", 1, ((), (), (0,), ())),  # a script on nothing
        ("{ a }", 1, ((), (0,), ())),  # a group for its own sake
        ("a ^ { }", 1, ((0,), (), (), ())),
    ],
)
def test_other_formulas_have_no_tree(
    text: str, strokes: int, ink: tuple[tuple[int, ...], ...]
) -> None:
    made = Expression("made", "", tuple(text.split()), (DOT,) * strokes, ink)
    assert written_tree(made) is None


def test_an_image_has_no_tree() -> None:
    image = np.full((20, 20), 255, np.uint8)
    assert written_tree(Expression("image", "", ("a",), (), ((),), image)) is None


def test_real_formulas_have_trees_that_write_their_captions(data_root: Path) -> None:
    expressions, _ = import_data(
        [data_root / "crohme" / "inkml" / "2014.zip"], ImportSettings(None, None, ())
    )
    trees = [(each, written_tree(each)) for each in expressions]
    found = [(each, tree) for each, tree in trees if tree is not None]
    assert len(found) > 0.9 * len(expressions)
    for each, tree in found:
        assert tuple(token for token, _ in caption(tree)) == each.caption
