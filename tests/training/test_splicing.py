from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inktex.core.rendering import normalized_strokes
from inktex.training.inkset import Expression
from inktex.training.splicing import joints, splice, with_splices

from .synthetic import expression, expressions


def written(caption: str, ink: list[tuple[int, ...]] | None = None) -> Expression:
    """A formula whose inked tokens are one stroke each, on a line, 12 units apart."""
    tokens = tuple(caption.split())
    inked = [token not in ("{", "}", "^", "_") for token in tokens]
    places = np.cumsum(inked) - 1
    own = [(int(place),) if has else () for place, has in zip(places, inked, strict=True)]
    strokes = tuple(
        np.array([(12 * place, 0), (12 * place + 8, 10)], np.float32) for place in range(sum(inked))
    )
    return Expression("made", "", tokens, strokes, tuple(ink if ink is not None else own))


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("a + b = c", [1, 3]),
        ("a ^ { b + c } = d", [7]),
        ("( a + b ) - [ c = d ]", [5]),
        ("| a + b | = c", [5]),
        ("\\{ a + b \\} = \\langle c + d \\rangle", [5]),
        ("- a", []),
        ("a =", []),
        ("x", []),
    ],
)
def test_a_formula_is_cut_at_operators_outside_of_braces_and_brackets(
    caption: str, found: list[int]
) -> None:
    assert joints(written(caption)) == found


def test_a_formula_whose_ink_is_not_all_known_is_not_cut() -> None:
    assert joints(written("a + b", [(0,), (1,), ()])) == []  # b has none
    assert joints(written("a + b", [(0,), (1,), (1,)])) == []  # one stroke of two symbols
    assert joints(written("a + b", [(0,), (1, 2), ()])) == []


def test_images_and_matrices_are_not_cut() -> None:
    pixels = np.full((20, 20), 255, np.uint8)
    for caption in ("a + b", "{ }"):
        tokens = tuple(caption.split())
        image = Expression("image", "", tokens, (), ((),) * len(tokens), pixels)
        assert joints(image) == []
    assert with_splices([image] * 3, 1.0, 100, np.random.default_rng(0)) == [image] * 3
    matrix = r"a + \begin{matrix} b - c & d \\ e \end{matrix} = f"
    tokens = tuple(matrix.split())
    inked = [token.isalpha() or token in "+-=" for token in tokens]
    own: list[tuple[int, ...]] = [
        (int(place),) if has else () for place, has in zip(np.cumsum(inked) - 1, inked, strict=True)
    ]
    made = written(matrix, own)
    whole = Expression("made", "", tokens, made.strokes[: sum(inked)], tuple(own))
    assert joints(whole) == [1, tokens.index("=")]


def test_a_splice_is_the_left_of_one_and_the_right_of_the_other() -> None:
    made = splice(written("a + b = c"), 1, written("d - e ^ { f }"), 1)
    assert made.caption == ("a", "+", "e", "^", "{", "f", "}")
    assert made.ink == ((0,), (1,), (2,), (), (), (3,), ())
    assert len(made.strokes) == 4
    left = [stroke[:, 0].max() for stroke in made.strokes]
    assert left == sorted(left)


def test_the_right_part_keeps_its_place_beside_the_operator() -> None:
    one, other = expression(0), expression(3)  # sums
    made = splice(one, 1, other, 1)

    def of(source: Expression, token: int) -> NDArray[np.float64]:
        strokes = normalized_strokes([each.astype(np.float64) for each in source.strokes])
        return np.concatenate([strokes[index] for index in source.ink[token]])

    def offset(operator: NDArray[Any], symbol: NDArray[Any]) -> NDArray[Any]:
        middle = (operator[:, 1].min() + operator[:, 1].max()) / 2
        between: NDArray[Any] = symbol.min(axis=0) - np.array([operator[:, 0].max(), middle])
        return between

    spliced = [np.concatenate([made.strokes[index] for index in made.ink[k]]) for k in (1, 2)]
    np.testing.assert_allclose(offset(*spliced), offset(of(other, 1), of(other, 2)), atol=1e-3)
    np.testing.assert_allclose(spliced[0], of(one, 1), atol=1e-3)


def test_the_share_of_splices_is_kept_and_depends_on_the_seed_alone() -> None:
    made = expressions(60)  # 20 of them sums
    none = with_splices(made, 0.0, 100, np.random.default_rng(0))
    assert none == made
    half = with_splices(made, 0.5, 100, np.random.default_rng(0))
    changed = [each.identifier for each in half if "+" in each.identifier]
    assert 4 <= len(changed) <= 16
    again = with_splices(made, 0.5, 100, np.random.default_rng(0))
    assert [each.identifier for each in again] == [each.identifier for each in half]
    other = with_splices(made, 0.5, 100, np.random.default_rng(1))
    assert [each.identifier for each in other] != [each.identifier for each in half]
    assert all(joints(made[number]) for number in range(60) if half[number] is not made[number])


def test_no_splice_is_longer_than_allowed() -> None:
    made = expressions(60)
    assert with_splices(made, 1.0, 2, np.random.default_rng(0)) == made
    spliced = with_splices(made, 1.0, 3, np.random.default_rng(0))
    assert max(len(each.caption) for each in spliced) <= max(len(each.caption) for each in made)
    assert any("+" in each.identifier for each in spliced)
