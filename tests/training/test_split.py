from __future__ import annotations

import csv
import json
import lzma
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from inktex.training.edge import edge
from inktex.training.inkset import Expression
from inktex.training.recipes import recipe_from_dict
from inktex.training.split import some_of, split_as_trained, split_expressions

from .synthetic import expressions


def expression(identifier: str, writer: str, caption: str) -> Expression:
    tokens = tuple(caption.split())
    return Expression(identifier, writer, tokens, (), ((),) * len(tokens))


def made(count: int = 2000) -> list[Expression]:
    """40 writers, a third unnamed; every fourth label comes often."""
    return [
        expression(f"e{i}", "" if i % 3 == 0 else f"w{i % 40}", f"x {i % 50 if i % 4 == 0 else i}")
        for i in range(count)
    ]


def check_nothing_leaks(train: Sequence[Expression], validation: Sequence[Expression]) -> None:
    assert not {each.caption for each in train} & {each.caption for each in validation}
    writers = {each.writer for each in validation} - {""}
    assert not {each.writer for each in train} & writers
    assert not {each.identifier for each in train} & {each.identifier for each in validation}


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_no_writer_and_no_label_stands_on_both_sides(share: float, seed: int) -> None:
    everything = made()
    train, validation = split_expressions(everything, share, seed)
    check_nothing_leaks(train, validation)
    assert 0.5 * share < len(validation) / len(everything) < share + 0.05
    assert abs(len(train) / len(everything) - (1 - share)) < 0.05
    counts = Counter(each.identifier for each in (*train, *validation))
    assert set(counts.values()) == {1}
    assert {each.writer for each in validation} > {""}  # both kinds are drawn from


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("sizes", [(200,), (180, 20), (100, 60, 40), (190, 10, 10)])
def test_few_writers_leave_most_to_train_on(sizes: tuple[int, ...], seed: int) -> None:
    everything = [
        expression(f"w{writer}-{number}", f"w{writer}", f"x {writer} {number}")
        for writer, size in enumerate(sizes)
        for number in range(size)
    ]
    train, validation = split_expressions(everything, 0.05, seed)
    assert 1 <= len(validation) <= 0.1 * len(everything)
    assert len(train) >= 0.9 * len(everything)
    assert not {each.caption for each in train} & {each.caption for each in validation}


def test_the_split_is_the_same_for_a_seed_and_any_order() -> None:
    def names(expressions: list[Expression], seed: int) -> list[set[str]]:
        sides = split_expressions(expressions, 0.1, seed)
        return [{each.identifier for each in side} for side in sides]

    assert names(made(), 1) == names(made()[::-1], 1)
    assert names(made(), 1) != names(made(), 2)


def test_no_share_holds_nothing_out_and_all_of_it_everything() -> None:
    train, validation = split_expressions(made(100), 0.0, 1)
    assert (len(train), len(validation)) == (100, 0)
    train, validation = split_expressions(made(100), 1.0, 1)
    assert (len(train), len(validation)) == (0, 100)
    assert split_expressions([], 0.05, 1) == ([], [])


def test_the_split_of_crohme(data_root: Path) -> None:
    """What the shipped recognizer was trained and chosen on."""
    crohme = data_root / "crohme"
    with (crohme / "images" / "train.tsv").open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        captions = {row[0]: row[1] for row in rows}
    writers = {}
    with lzma.open(crohme / "strokes" / "train.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            # the first three fields; the strokes, nearly all of a line, are not wanted here
            head = json.loads(line[: line.index(',"truth":')] + "}")
            writers[head["id"]] = head["writer"]
    everything = [expression(name, writers[name], captions[name]) for name in sorted(captions)]
    train, validation = split_expressions(everything, 0.05, 1)
    assert (len(everything), len(train), len(validation)) == (8835, 8393, 376)
    check_nothing_leaks(train, validation)


def test_another_seed_holds_the_same_out_and_before_it_was_of_the_split_too() -> None:
    everything = made()
    recipe = edge().override({"seed": "4", "split_seed": "2", "validation_share": "0.2"})
    values = recipe.to_dict()
    assert split_as_trained(everything, values) == split_expressions(everything, 0.2, 2)
    del values["split_seed"]
    assert split_as_trained(everything, values) == split_expressions(everything, 0.2, 4)
    assert recipe_from_dict(values).split_seed == 4
    assert split_as_trained(everything, {}) == split_expressions(everything, 0.05, 1)


def test_a_share_is_the_same_for_the_same_seed() -> None:
    made = expressions(14)
    assert some_of(made, 1.0, 1) == made
    few = some_of(made, 0.5, 1)
    assert len(few) == 7
    assert few == some_of(made, 0.5, 1) != some_of(made, 0.5, 2)
    assert len(some_of(made, 0.001, 1)) == 1
    assert some_of([], 0.5, 1) == []
