from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from inktex.core.latex import normalize
from inktex.training.synthesis.captions import Captions, Writing, length
from inktex.training.synthesis.samples import Samples, matched
from inktex.training.synthesis.tree import Row, caption

from .formulas import box, written

TEXTS = [
    "a + b = c",
    "x ^ { 2 } + y _ { 1 }",
    r"\frac { a + 1 } { b - 2 }",
    r"( x + 1 ) ^ { n }",
    r"\sqrt { a } + \sqrt { b - c }",
    r"\sum \limits _ { i = 1 } ^ { n } x _ { i }",
    "3",
]


def rows_of(texts: Sequence[str]) -> Mapping[str, Sequence[Row]]:
    marks = ("{", "}", "^", "_", "\\limits")
    sources = []
    for text in texts:
        count = sum(token not in marks for token in text.split())
        sources.append(written(text, [box(0, 0, 1, 1)] * count))
    return Samples.collect(sources).rows


def written_by(writing: Writing, count: int = 200, seed: int = 0) -> list[tuple[str, ...]]:
    captions = Captions(rows_of(TEXTS), writing)
    rng = np.random.default_rng(seed)
    rows = [captions.caption(rng) for _ in range(count)]
    assert all(length(row) == len(list(caption(row))) for row in rows)
    return [tuple(token for token, _ in caption(row)) for row in rows]


@pytest.mark.parametrize("grammar", [0.0, 0.5, 1.0])
def test_captions_keep_to_the_convention_and_to_the_length(grammar: float) -> None:
    made = written_by(Writing(grammar=grammar, longest=15))
    for tokens in made:
        assert list(tokens) == normalize(tokens)
        assert 1 <= len(tokens) <= 15
    assert len(set(made)) > 50


def test_without_exchange_and_renaming_captions_are_real_ones() -> None:
    made = written_by(Writing(grammar=0, exchanges=0, renaming=0))
    assert set(made) == {tuple(text.split()) for text in TEXTS}


def test_exchanged_parts_come_from_rows_of_their_role() -> None:
    made = written_by(Writing(grammar=0, exchanges=1, renaming=0), 400)
    new = set(made) - {tuple(text.split()) for text in TEXTS}
    assert len(new) > 20
    exponents = {"2", "n"}
    for tokens in new:
        text = " ".join(tokens)
        if "\\limits" not in text and "^" in text:
            assert text.split("^ { ")[1].split(" }")[0] in exponents


def test_an_exchange_reaches_every_row() -> None:
    made = written_by(Writing(grammar=0, exchanges=1, renaming=0), 1000)
    texts = {" ".join(each) for each in made}
    assert any(r"\frac { a + 1 } {" in each and each not in TEXTS for each in texts)  # denominator
    assert any("} { b - 2 }" in each and each not in TEXTS for each in texts)  # numerator
    assert any(each.startswith("a + b = ") and each not in TEXTS for each in texts)  # operand


def test_a_letter_is_renamed_everywhere_and_stays_a_letter() -> None:
    rows = rows_of(["a + a - a ^ { a }", "b", "c", "d", "X", "2"])
    captions = Captions(rows, Writing(grammar=0, exchanges=0, renaming=1.0))
    rng = np.random.default_rng(0)
    made = [[token for token, _ in caption(captions.caption(rng))] for _ in range(200)]
    found = [tokens for tokens in made if len(tokens) > 1]
    letters = [{token for token in tokens if token.isalnum()} for tokens in found]
    assert all(len(each) == 1 for each in letters)
    assert set.union(*letters) <= {"a", "b", "c", "d"}
    assert len(set.union(*letters)) > 1


def test_the_grammar_closes_what_it_opens() -> None:
    made = written_by(Writing(grammar=1.0, longest=40), 400)
    for tokens in made:
        places = {place for pair in matched(tokens) for place in pair}
        assert {place for place, token in enumerate(tokens) if token in "()"} == places
    assert any("(" in tokens for tokens in made)
    assert any("\\frac" in tokens for tokens in made)


def test_where_nothing_is_short_enough_the_shortest_real_one_is_taken() -> None:
    captions = Captions(rows_of(TEXTS), Writing(longest=0))
    rng = np.random.default_rng(0)
    assert min(length(captions.caption(rng)) for _ in range(20)) == 1
