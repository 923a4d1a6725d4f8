"""How good predictions are: ExpRate and its relatives, on token sequences.

Everywhere: `references` and `predictions` are equally long, non-empty sequences of token sequences
(not strings: split or `tokenize` them first); rates are fractions in 0..1. Tokens are compared as
they are given: bring both sides into the same convention (`latex.normalize`) beforehand. Only the
normalised rate reads them as formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import InputError
from .latex_tree import layout_tree

_NORMAL_QUANTILE_95 = 1.959963984540054  # the standard normal stays within ± this in 95 %


def edit_distance(reference: Sequence[str], prediction: Sequence[str]) -> int:
    r"""The least number of insertions, deletions and substitutions of tokens (Levenshtein, 1966).

    .. math::
        d_{i,j} = \min(d_{i-1,j} + 1,\; d_{i,j-1} + 1,\; d_{i-1,j-1} + [r_i \ne p_j])

    >>> edit_distance("x ^ { 2 }".split(), "x _ { 2 } 1".split())
    2
    """
    row = list(range(len(prediction) + 1))
    for i, expected in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, found in enumerate(prediction, start=1):
            above = row[j]
            row[j] = min(above + 1, row[j - 1] + 1, diagonal + (expected != found))
            diagonal = above
    return row[-1]


def exp_rate(
    references: Sequence[Sequence[str]],
    predictions: Sequence[Sequence[str]],
    tolerance: int = 0,
) -> float:
    r"""The share of formulas predicted with at most `tolerance` token edits (ExpRate; 0 = exactly).

    .. math::
        \text{ExpRate}_k = \frac{1}{N} \sum_{i=1}^{N} [d(r_i, p_i) \le k]

    >>> exp_rate([["x"], ["y", "+", "1"]], [["x"], ["y", "-", "1"]])
    0.5
    >>> exp_rate([["x"], ["y", "+", "1"]], [["x"], ["y", "-", "1"]], tolerance=1)
    1.0

    Raises:
        InputError: nothing to compare, unequal numbers, strings in place of token sequences, or a
            negative tolerance.
    """
    _check(references, predictions)
    if tolerance < 0:
        raise InputError(f"expected a tolerance of 0 or more token edits, found {tolerance}")
    pairs = zip(references, predictions, strict=True)
    return sum(edit_distance(*pair) <= tolerance for pair in pairs) / len(references)


def same_layout(reference: Sequence[str], prediction: Sequence[str]) -> bool:
    r"""Whether two formulas are equal, or have equal layout trees (see `normalized_exp_rate`).

    >>> same_layout("x _ { 1 } ^ { 2 }".split(), "x ^ 2 _ 1".split())
    True
    """
    if list(reference) == list(prediction):
        return True
    try:
        return layout_tree(reference) == layout_tree(prediction)
    except InputError:
        return False


def normalized_exp_rate(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> float:
    r"""The share of formulas whose layout tree is right: `\limits`, the order of scripts and
    redundant braces do not count (see `latex_tree.layout_tree`).

    .. math::
        \frac{1}{N} \sum_{i=1}^{N} [r_i = p_i \lor \text{tree}(r_i) = \text{tree}(p_i)]

    A malformed prediction is wrong, unless it repeats a reference that is malformed itself, so that
    this rate is never below the exact one.

    >>> normalized_exp_rate(["x _ { 1 } ^ { 2 }".split()], ["x ^ 2 _ 1".split()])
    1.0

    Raises:
        InputError: as `exp_rate`.
    """
    _check(references, predictions)
    pairs = zip(references, predictions, strict=True)
    return sum(same_layout(*pair) for pair in pairs) / len(references)


def token_error_rate(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> float:
    r"""Token edits for each token of the references; above 1 where predictions are far too long.

    .. math::
        \text{TER} = \frac{\sum_i d(r_i, p_i)}{\sum_i |r_i|}

    >>> token_error_rate([["x"], ["y", "+", "1"]], [["x"], ["y", "-", "1"]])
    0.25

    Raises:
        InputError: as `exp_rate`, or references that are all empty.
    """
    return score(references, predictions).token_error_rate


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    r"""The 95 % confidence interval of a rate (Wilson, 1927), with z = 1.96:

    .. math::
        \frac{1}{1 + z^2/n} \left(\hat p + \frac{z^2}{2n}
            \pm z \sqrt{\frac{\hat p (1 - \hat p)}{n} + \frac{z^2}{4n^2}}\right)

    >>> [round(bound, 3) for bound in wilson_interval(50, 100)]
    [0.404, 0.596]

    Raises:
        InputError: no trials, or successes outside 0..trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError(
            f"expected 0 <= successes <= trials and 1 trial or more, found {successes} of {trials}"
        )
    z = _NORMAL_QUANTILE_95
    rate = successes / trials
    scale = 1 / (1 + z * z / trials)
    centre = scale * (rate + z * z / (2 * trials))
    half = scale * z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # At 0 and at all successes one bound is the rate itself, but for rounding.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


@dataclass(frozen=True)
class Score:
    """What a set of predictions scored: the counts as fields, the rates (0..1) as properties.

    Attributes:
        count: formulas compared.
        exact_count: predicted without an error.
        within_1_count: with at most 1 token edit (the exact ones included).
        within_2_count: with at most 2 token edits.
        normalized_count: with the right layout tree.
        edits: token edits over all formulas.
        reference_tokens: tokens in all references.
    """

    count: int
    exact_count: int
    within_1_count: int
    within_2_count: int
    normalized_count: int
    edits: int
    reference_tokens: int

    @property
    def exact(self) -> float:
        """ExpRate."""
        return self.exact_count / self.count

    @property
    def exact_interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of ExpRate (Wilson)."""
        return wilson_interval(self.exact_count, self.count)

    @property
    def within_1(self) -> float:
        """ExpRate with at most 1 token edit."""
        return self.within_1_count / self.count

    @property
    def within_2(self) -> float:
        """ExpRate with at most 2 token edits."""
        return self.within_2_count / self.count

    @property
    def normalized(self) -> float:
        """ExpRate on layout trees."""
        return self.normalized_count / self.count

    @property
    def token_error_rate(self) -> float:
        """Token edits for each reference token."""
        return self.edits / self.reference_tokens

    def to_dict(self) -> dict[str, int | float | list[float]]:
        """Counts, rates and the interval, ready for JSON."""
        return {
            "count": self.count,
            "exact": self.exact,
            "exact_interval": list(self.exact_interval),
            "within_1": self.within_1,
            "within_2": self.within_2,
            "normalized": self.normalized,
            "token_error_rate": self.token_error_rate,
            "exact_count": self.exact_count,
            "within_1_count": self.within_1_count,
            "within_2_count": self.within_2_count,
            "normalized_count": self.normalized_count,
            "edits": self.edits,
            "reference_tokens": self.reference_tokens,
        }


def score(references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Score:
    """All metrics of this module in one pass.

    >>> found = score([["x"], ["y", "+", "1"]], [["x"], ["y", "-", "1"]])
    >>> found.exact, found.within_1, found.token_error_rate
    (0.5, 1.0, 0.25)

    Raises:
        InputError: as `exp_rate`, or references that are all empty.
    """
    _check(references, predictions)
    reference_tokens = sum(len(reference) for reference in references)
    if reference_tokens == 0:
        raise InputError(
            f"expected references with tokens, found {len(references)} empty ones; "
            "check where the references come from"
        )
    pairs = list(zip(references, predictions, strict=True))
    distances = [edit_distance(*pair) for pair in pairs]
    return Score(
        count=len(pairs),
        exact_count=sum(distance == 0 for distance in distances),
        within_1_count=sum(distance <= 1 for distance in distances),
        within_2_count=sum(distance <= 2 for distance in distances),
        normalized_count=sum(same_layout(*pair) for pair in pairs),
        edits=sum(distances),
        reference_tokens=reference_tokens,
    )


def _check(references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> None:
    if len(references) != len(predictions):
        raise InputError(
            f"expected one prediction for each reference, found {len(references)} references and "
            f"{len(predictions)} predictions; give an empty list where a prediction is missing"
        )
    if not references:
        raise InputError("expected at least one formula to score, found none")
    for sequence in (references, predictions, *references, *predictions):
        if isinstance(sequence, str):
            raise InputError(
                f"expected lists of tokens, found the string {sequence[:40]!r}; "
                "split it at the spaces, or call latex.tokenize() first"
            )
