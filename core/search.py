"""From a step model to token sequences: greedy search and beam search.

Both read only log-probabilities, so they are the same on every runtime. With a grammar constraint
every hypothesis they return is a complete, well-formed formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import InktexError, InputError
from .grammar import GrammarConstraint, GrammarState
from .step_model import Memory, State, StepModel, TreeModel
from .token_tree import MOST_NODES, TokenTree

LogProbs = npt.NDArray[np.float32]

# Stands for a probability of zero where the grammar leaves nothing else to write.
_IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an image.

    Attributes:
        tokens: what was written, without `<sos>` and `<eos>`.
        log_prob: natural log-probability of the whole, `<eos>` included: the sum of
            `token_log_probs`.
        token_log_probs: the model's own log-probability of every token, `<eos>` included; a
            constraint leaves them as they are (it does not renormalise), except that it takes
            the impossible for -1e4.
        finished: whether `<eos>` was written; False where `max_length` cut the hypothesis off.
        score: `log_prob / length**length_penalty`, where length counts `<eos>`; hypotheses of
            different lengths are ranked by it.
    """

    tokens: tuple[int, ...]
    log_prob: float
    token_log_probs: tuple[float, ...]
    finished: bool
    score: float


class _Beam(NamedTuple):
    """A hypothesis that is still being written."""

    tokens: tuple[int, ...]
    token_log_probs: tuple[float, ...]
    log_prob: float
    grammar: GrammarState | None

    def extend(self, token: int, log_prob: float, constraint: GrammarConstraint | None) -> _Beam:
        """With one more token written."""
        grammar = self.grammar
        if constraint is not None and grammar is not None:
            grammar = constraint.advance(grammar, token)
        return _Beam(
            (*self.tokens, token),
            (*self.token_log_probs, log_prob),
            self.log_prob + log_prob,
            grammar,
        )

    def end(self, length_penalty: float) -> Hypothesis:
        """As it stands, unfinished."""
        score = self.log_prob / len(self.token_log_probs) ** length_penalty
        return Hypothesis(self.tokens, self.log_prob, self.token_log_probs, False, score)

    def finish(self, eos_log_prob: float, length_penalty: float) -> Hypothesis:
        """With `<eos>` written."""
        log_probs = (*self.token_log_probs, eos_log_prob)
        log_prob = self.log_prob + eos_log_prob
        score = log_prob / len(log_probs) ** length_penalty
        return Hypothesis(self.tokens, log_prob, log_probs, True, score)


def greedy(
    model: StepModel[Memory, State],
    memory: Memory,
    *,
    sos: int,
    eos: int,
    max_length: int,
    constraint: GrammarConstraint | None = None,
    draft: Sequence[int] = (),
) -> Hypothesis:
    """Write the likeliest token, step by step, until `<eos>`; of equals, the lower number.

    A draft changes nothing but the time: a model that reads trees reads all of it at once, and
    steps begin where the likeliest token is another one (speculative decoding; Leviathan et al.,
    2023, arXiv:2211.17192).

    Args:
        model: the recognizer.
        memory: of the image, from `model.encode`.
        sos, eos: the numbers of the special tokens; `<sos>` is never written.
        max_length: the most tokens to write, `<eos>` included; that many steps at most.
        constraint: keeps the result a well-formed formula that ends within `max_length`.
        draft: tokens that may well come out, without `<sos>` and `<eos>`.

    Returns:
        The hypothesis, its score normalised with a length penalty of 1.

    Raises:
        InputError: an argument makes no sense.
        InktexError: the model returned something other than log-probabilities.
    """
    _check_arguments(model, max_length, constraint)
    drafted = _Draft.read(model, memory, (sos, *draft)[:max_length])
    state = None if drafted else model.start(memory, 1)
    grammar = constraint.start() if constraint else None
    tokens: list[int] = []
    log_probs: list[float] = []
    last = sos
    for length in range(1, max_length + 1):
        raw = drafted.after(last, length) if drafted else None
        if raw is None:
            if state is None:
                assert drafted is not None
                state, drafted = drafted.resume(length - 1), None
            raw, state = model.step(np.array([last], dtype=np.int64), memory, state)
        last, log_prob = _largest(raw, 1, model.vocabulary_size, length)
        tokens_left = max_length - length + 1
        following = None
        fits = last != sos and _IMPOSSIBLE <= log_prob <= 0
        if constraint is not None and grammar is not None:
            following = constraint.after(grammar, last, tokens_left)
            fits = fits and following is not None
        if not fits:
            written = _Beam(tuple(tokens), tuple(log_probs), 0.0, grammar)
            found = _likeliest(raw, log_prob, [written], 1, sos, constraint, tokens_left)
            if not found:
                raise _dead_end(length)
            [(_, last, log_prob)] = found
            if constraint is not None and grammar is not None:
                following = constraint.after(grammar, last, tokens_left)
        log_probs.append(log_prob)
        if last == eos:
            break
        tokens.append(last)
        grammar = following
    total = sum(log_probs)
    return Hypothesis(
        tuple(tokens), total, tuple(log_probs), last == eos, score=total / len(log_probs)
    )


class _Draft(NamedTuple, Generic[Memory, State]):
    """What a model says of a draft.

    log_probs: after each of its tokens, [tokens, vocabulary]
    nodes: what a state is made of
    """

    model: TreeModel[Memory, State]
    memory: Memory
    tree: TokenTree
    log_probs: LogProbs
    nodes: Any

    @classmethod
    def read(
        cls, model: StepModel[Memory, State], memory: Memory, tokens: Sequence[int]
    ) -> _Draft[Memory, State] | None:
        """Nothing where there is no more to it than `<sos>`, or the model reads no trees."""
        if not 1 < len(tokens) <= MOST_NODES:
            return None
        if not (isinstance(model, TreeModel) and model.reads_trees):
            return None
        tree = TokenTree.of([tokens])
        return cls(model, memory, tree, *model.read_tree(tree, memory))

    def after(self, token: int, steps: int) -> LogProbs | None:
        """What may come after so many tokens, [1, vocabulary], the last of which is `token`; None
        where the draft has another one there, or ends before."""
        if steps > len(self.log_probs) or self.tree.tokens[steps - 1] != token:
            return None
        return self.log_probs[steps - 1 : steps]

    def resume(self, steps: int) -> State:
        """The state after so many tokens of the draft."""
        return self.model.resume(self.nodes, self.tree.paths[0][:steps], self.memory)


def beam_search(
    model: StepModel[Memory, State],
    memory: Memory,
    *,
    beams: int,
    sos: int,
    eos: int,
    max_length: int,
    length_penalty: float = 1.0,
    nbest: int = 1,
    lag: float = np.inf,
    constraint: GrammarConstraint | None = None,
) -> list[Hypothesis]:
    """Follow the `beams` likeliest beginnings at once; with one beam this is `greedy`.

    A hypothesis that ends keeps its place among the `beams`, so fewer and fewer rows are live.
    The state is cut down to them at once rather than padded to a constant number: the rows must be
    gathered then anyway, there are at most `beams` such changes of shape in a search, and a row
    that is gone costs nothing in all the steps to come, while the last live beam may go on long
    after the others ended. A runtime that needs a fixed shape pads inside its adapter.

    Args:
        model: the recognizer.
        memory: of the image, from `model.encode`; shared by all beams.
        beams: the number of hypotheses followed.
        sos, eos: the numbers of the special tokens; `<sos>` is never written.
        max_length: the most tokens to write, `<eos>` included; that many steps at most.
        length_penalty: 0 ranks by probability (and so favours the short), 1 by the mean
            log-probability of a token.
        nbest: how many hypotheses are wanted, at most `beams`.
        lag: a hypothesis is given up that is less likely than another one by more than this many
            nats, ended or not.
        constraint: keeps every result a well-formed formula that ends within `max_length`.

    Returns:
        Up to `nbest` different hypotheses, best first: by score, the earlier finished first where
        scores are equal; those that `max_length` cut off come after all finished ones. Fewer than
        `nbest` only where the model gives no other any probability, or others were given up.

    Raises:
        InputError: an argument makes no sense.
        InktexError: the model returned something other than log-probabilities.
    """
    _check_arguments(model, max_length, constraint)
    if not 1 <= nbest <= beams:
        raise InputError(f"expected 1 <= nbest <= beams; found nbest {nbest}, beams {beams}")
    if not 0 <= length_penalty < np.inf:
        raise InputError(f"expected a length penalty >= 0, usually 1; found {length_penalty}")
    if not lag > 0:
        raise InputError(f"expected a lag > 0, of natural log-probability; found {lag}")

    # One row to begin with: equal rows would all grow into the same hypotheses.
    state = model.start(memory, 1)
    live = [_Beam((), (), 0.0, constraint.start() if constraint else None)]
    last = np.array([sos], dtype=np.int64)
    finished: list[Hypothesis] = []
    for length in range(1, max_length + 1):
        raw, state = model.step(last, memory, state)
        _, largest = _largest(raw, len(live), model.vocabulary_size, length)
        tokens_left = max_length - length + 1
        count = beams - len(finished)
        found = _likeliest(raw, largest, live, count, sos, constraint, tokens_left)
        if not found and not finished:
            raise _dead_end(length)

        grown: list[_Beam] = []
        order: list[int] = []
        best = max((each.log_prob for each in finished), default=-np.inf)
        for row, token, log_prob in found:
            total = live[row].log_prob + log_prob
            best = max(best, total)  # of this step the first is the likeliest
            if total < best - lag:
                break
            if token == eos:
                finished.append(live[row].finish(log_prob, length_penalty))
            else:
                grown.append(live[row].extend(token, log_prob, constraint))
                order.append(row)
        rows_before, live = len(live), grown
        if not live or length == max_length:
            break
        if _is_settled(finished, live[0].log_prob, nbest, max_length, length_penalty):
            live = []
            break
        if order != list(range(rows_before)):
            state = model.reorder(state, np.array(order, dtype=np.int64))
        last = np.array([beam.tokens[-1] for beam in live], dtype=np.int64)

    # Python's sort is stable, and both lists are already in their order among equals.
    finished.sort(key=lambda hypothesis: -hypothesis.score)
    return (finished + [beam.end(length_penalty) for beam in live])[:nbest]


def _is_settled(
    finished: list[Hypothesis],
    best_live_log_prob: float,
    nbest: int,
    max_length: int,
    length_penalty: float,
) -> bool:
    """Whether no live beam can still come before the nbest-th finished hypothesis."""
    if len(finished) < nbest:
        return False
    to_beat = sorted((hypothesis.score for hypothesis in finished), reverse=True)[nbest - 1]
    # A beam's log-probability can only fall, and it is never positive, so the division by
    # length**penalty flatters it most at the greatest length. With log_prob the likeliest beam's,
    # log_prob / max_length**penalty therefore bounds the score of all that can still be finished.
    # A tie is no win: the hypothesis that finished earlier stays in front.
    bound: float = best_live_log_prob / max_length**length_penalty
    return bound <= to_beat


def _largest(raw: LogProbs, rows: int, vocabulary_size: int, step: int) -> tuple[int, float]:
    """Where the largest log-probability is in what the model returned, counted through all rows,
    and what it is.

    Raises:
        InktexError: the model returned something else than log-probabilities `[rows, vocab]`.
    """
    if raw.shape != (rows, vocabulary_size):
        raise InktexError(
            f"step {step} of the model should return log-probabilities of shape "
            f"{(rows, vocabulary_size)}, and returned {raw.shape}; the model and its "
            "vocabulary do not belong together, or the runtime is broken"
        )
    place = int(raw.argmax())  # of NaN, where there is one
    largest = raw.item(place)
    # The comparison is false for NaN too. Rounding may leave a log-probability just above 0.
    if not largest <= 1e-3:
        found = "NaN" if np.isnan(largest) else f"up to {largest:.3g}"
        raise InktexError(
            f"step {step} of the model should return log-probabilities (at most 0), and returned "
            f"{found}; the weights or the runtime are broken: run `inktex verify`"
        )
    return place, largest


def _likeliest(
    raw: LogProbs,
    largest: float,
    live: Sequence[_Beam],
    count: int,
    sos: int,
    constraint: GrammarConstraint | None,
    tokens_left: int,
) -> list[tuple[int, int, float]]:
    """The `count` likeliest hypotheses that are one token longer, likeliest first: the row of the
    beam, the token, and its log-probability. Fewer where no others are possible.

    Of equals the one in the earlier row comes first, then the one with the lower token number.
    They are looked for one by one: for the few beams of a search that is quicker than a partition.

    What the grammar allows stays possible even where the model says probability zero: it may be
    the only way left to close the formula.

    Args:
        raw: what the model returned, `[live, vocab]`.
        largest: the largest entry of it.
    """
    least = -np.inf if constraint is None else _IMPOSSIBLE
    if largest > 0 or raw.item(raw.argmin()) < least:
        raw = raw.clip(least, 0.0)
    totals = raw + np.array([[beam.log_prob] for beam in live])  # float64
    if constraint is None:
        totals[:, sos] = -np.inf
    else:
        grammars = [beam.grammar for beam in live if beam.grammar is not None]
        allowed = [constraint.allowed(grammar, tokens_left) for grammar in grammars]
        totals = np.where(allowed, totals, -np.inf)
    flat = totals.ravel()
    found = []
    for _ in range(min(count, flat.size)):
        place = flat.argmax()
        if flat.item(place) == -np.inf:
            break
        flat[place] = -np.inf
        row, token = divmod(int(place), raw.shape[1])
        found.append((row, token, raw.item(place)))
    return found


def _check_arguments(
    model: StepModel[Memory, State], max_length: int, constraint: GrammarConstraint | None
) -> None:
    if max_length < 1:
        raise InputError(f"expected max_length >= 1, <eos> included; found {max_length}")
    if constraint is None:
        return
    if len(constraint.vocabulary) != model.vocabulary_size:
        raise InputError(
            f"the constraint is for a vocabulary of {len(constraint.vocabulary)} tokens and the "
            f"model has {model.vocabulary_size}; build it from the model's own vocabulary"
        )
    constraint.allowed(constraint.start(), max_length)  # raises where max_length is too small


def _dead_end(step: int) -> InktexError:
    return InktexError(
        f"step {step} of the model gives every token probability zero; the weights or the runtime "
        "are broken: run `inktex verify`"
    )
