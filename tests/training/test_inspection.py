from __future__ import annotations

import json

import numpy as np
import pytest

from inktex.training.captions import not_written
from inktex.training.inkset import Expression, fingerprint
from inktex.training.inspection import inspect_expressions

from .synthetic import expression, expressions


def image(identifier: str, caption: str, size: tuple[int, int] = (40, 60)) -> Expression:
    tokens = tuple(caption.split())
    pixels = np.zeros(size, np.uint8)
    pixels[10:-10, 10:-10] = 255
    return Expression(identifier, "", tokens, (), ((),) * len(tokens), pixels)


def test_captions_that_the_grammar_does_not_write_are_counted() -> None:
    captions = ["x ^ { 2 }", r"\begin{matrix} x \end{matrix}", r"\frac { } { 2 }", "{ x } ^ { 2 }"]
    made = [image(str(number), caption) for number, caption in enumerate(captions)]
    assert not_written(made) == ["1", "2", "3"]
    assert not_written([image("a", ""), image("b", "{ }")]) == ["b"]
    found = inspect_expressions(made)
    assert found.not_written == 3
    assert "3 captions that only --no-grammar could read" in str(found)
    assert "--no-grammar" not in str(inspect_expressions(made[:1]))


def test_what_is_in_a_set_is_counted() -> None:
    made = [*expressions(8), image("picture", "x + y")]
    found = inspect_expressions(made)
    assert found.fingerprint == fingerprint(made)
    assert (found.expressions, found.images, found.unlabelled, found.not_drawn) == (9, 1, 0, 0)
    assert (found.writers, found.unnamed) == (4, 5)
    assert found.distinct_captions == len({each.caption for each in made})
    lengths = sorted(len(each.caption) for each in made)
    assert found.lengths["p50"] == lengths[4] or found.lengths["p50"] == lengths[3]
    assert found.lengths["max"] == lengths[-1]
    assert found.heights_px["max"] >= found.heights_px["p50"] > 16
    symbols = [
        (token, ink)
        for each in made
        for token, ink in zip(each.caption, each.ink, strict=True)
        if token not in ("{", "}", "^")
    ]
    assert found.known_ink == pytest.approx(1 - 3 / len(symbols))
    counts = list(found.tokens.values())
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == sum(lengths)
    assert found.tokens["y"] == 1
    assert found.overlap is None
    told = str(found)
    assert "9 expressions, fingerprint" in told
    assert "8 of ink, 1 images" in told
    assert "least often" not in told
    assert json.loads(json.dumps(found.to_dict()))["lengths"] == found.lengths


def test_against_training_it_tells_what_was_never_seen() -> None:
    training = expressions(12)
    others = [expression(0), image("one", "x + y"), image("two", "y z y"), image("three", "x")]
    overlap = inspect_expressions(others, training).overlap
    assert overlap is not None
    assert overlap.unseen == {"y": 2, "z": 1}
    assert (overlap.expressions, overlap.captions, overlap.identifiers) == (2, 1, 1)
    told = str(inspect_expressions(others, training))
    assert "2 tokens unseen in training, in 2 expressions: y 2  z 1" in told
    assert "0 tokens unseen in training, in 0 expressions: none" in str(
        inspect_expressions(training, training)
    )


def test_an_empty_set_is_counted_too() -> None:
    found = inspect_expressions([], [])
    assert (found.expressions, found.known_ink, found.tokens) == (0, 0.0, {})
    assert found.lengths == {"p50": 0, "p90": 0, "p99": 0, "max": 0}
    assert "0 expressions" in str(found)


def test_odd_expressions_are_counted_and_named() -> None:
    odd = [
        Expression("nothing", "", ("x",), (), ((),)),
        Expression("dot", "", (), (np.zeros((1, 2), np.float32),), ()),
    ]
    found = inspect_expressions(odd)
    assert (found.expressions, found.not_drawn, found.unlabelled) == (2, 1, 1)
    assert found.distinct_captions == 1
    assert "1 expressions cannot be drawn" in str(found)


def test_many_tokens_are_told_from_both_ends() -> None:
    tokens = [f"\\t{'abcdefghij'[n // 10]}{'abcdefghij'[n % 10]}" for n in range(100)]
    made = [image(f"i{n}", " ".join(tokens[: n + 1])) for n in range(100)]
    told = str(inspect_expressions(made))
    assert r"100 tokens; most often: \taa 100" in told
    assert told.count("\\t") == 80
    assert told.rstrip().endswith(r"\tjj 1")
