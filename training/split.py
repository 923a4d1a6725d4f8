"""The validation split: cut from train, so that no label and no writer stands on both sides; and
other parts of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .inkset import Expression

_MOST = 2.0  # times the wanted share
Item = TypeVar("Item")


def split_expressions(
    expressions: Sequence[Expression], validation_share: float, seed: int
) -> tuple[list[Expression], list[Expression]]:
    """(train, validation), deterministic.

    Writers are drawn until theirs is the wanted share, but none who would make it more than twice
    that; of the expressions that name no writer, and of all where every writer is too large, the
    same share is drawn by label. An expression of the validation side whose label also stands on
    the training side would be known by heart, and goes to neither.

    Args:
        validation_share: wanted share of the expressions, 0..1; the result is smaller, by the
            labels that stand on both sides.
    """
    rng = np.random.default_rng([seed, 2])
    writers = Counter(each.writer for each in expressions if each.writer)
    named = sum(writers.values())
    held_out: set[str] = set()
    drawn = 0
    for writer in rng.permutation(sorted(writers)).tolist():
        if drawn >= validation_share * named:
            break
        if drawn + writers[writer] <= max(_MOST * validation_share * named, 1):
            held_out.add(writer)
            drawn += writers[writer]
    by_writer = bool(held_out)
    labels = sorted({each.caption for each in expressions if not (each.writer and by_writer)})
    chosen = rng.random(len(labels)) < validation_share
    held_labels = {label for label, hold in zip(labels, chosen, strict=True) if hold}

    def held(each: Expression) -> bool:
        if each.writer and by_writer:
            return each.writer in held_out
        return each.caption in held_labels

    train = [each for each in expressions if not held(each)]
    known = {each.caption for each in train}
    validation = [each for each in expressions if held(each) and each.caption not in known]
    return train, validation


def split_as_trained(
    expressions: Sequence[Expression], recipe: Mapping[str, Any]
) -> tuple[list[Expression], list[Expression]]:
    """`split_expressions` as a training cut its data, by the values of its recipe, of earlier
    versions, too, whose one seed was also that of the split."""
    seed = recipe.get("split_seed", recipe.get("seed", 1))
    return split_expressions(expressions, float(recipe.get("validation_share", 0.05)), int(seed))


def some_of(expressions: Sequence[Expression], share: float, seed: int) -> list[Expression]:
    """A share, 0..1, of the expressions, the same for the same seed; at least one of them."""
    order = np.random.default_rng([seed, 3]).permutation(len(expressions))
    chosen = sorted(order[: max(round(share * len(expressions)), 1)].tolist())
    return [expressions[number] for number in chosen]


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """At most `limit` of the items, evenly over the list.

    >>> spread([0, 1, 2, 3, 4, 5], 3)
    [0, 2, 4]
    """
    if limit is None or limit >= len(items):
        return list(items)
    return [items[number * len(items) // limit] for number in range(limit)]
