"""The recognizer: handwriting of any kind in, LaTeX out, on whatever runtime runs the model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from math import exp, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attention import Explanation, attention_of, attentive, on_grid
from .confidence import FARTHEST
from .errors import BundleError, InputError
from .grammar import GrammarConstraint
from .latex import to_latex
from .manifest import Manifest
from .preparation import Source, prepare_image, rendering_of, size_limits
from .rescoring import rescored
from .search import Hypothesis, beam_search, greedy
from .step_model import LimitedModel, StepModel

__all__ = [
    "Alternative",
    "Recognizer",
    "Result",
    "Running",
    "Timings",
    "prepare_image",
    "read_plainly",
    "reads_alike",
]


@dataclass(frozen=True)
class Alternative:
    """Another reading of the same handwriting; its parts are those of a `Result`.

    The calibration is fitted to best readings alone: `confidence` here is what a best reading with
    these probabilities would have, and those of all readings do not add up to 1.
    """

    latex: str
    tokens: tuple[str, ...]
    confidence: float
    score: float
    token_log_probs: tuple[float, ...] = ()
    margin: float | None = None


@dataclass(frozen=True)
class Timings:
    """Where the time went, in milliseconds of the wall clock.

    Attributes:
        read_ms: reading the file, and rendering at the recognizer's scale.
        encode_ms: the encoder.
        decode_ms: the search, all steps of the decoder included.
        total_ms: all of it.
    """

    read_ms: float
    encode_ms: float
    decode_ms: float
    total_ms: float


@dataclass(frozen=True)
class Result:
    """What was read.

    Attributes:
        latex: the best reading, compact, to show or paste.
        tokens: the same as tokens of the vocabulary, in the evaluation convention.
        confidence: 0..1, the chance that all of it is right, as the bundle's calibration says it;
            where it has none, the probability that the model gives this whole sequence, which is
            lower.
        score: what readings are ranked by: the natural log-probability over the length to the
            power of the bundle's length penalty (1 for greedy), and where the bundle rescores the
            mean of both directions for those that were read again, which stand before the others.
            The best ranked need not be the most probable.
        alternatives: the next best readings, best first, `nbest - 1` at most.
        timings: where the time went.
        token_log_probs: the model's natural log-probability of every token, `<eos>` included.
        margin: the natural log-probability of this reading less that of the likeliest other one
            that the search followed, at most `confidence.FARTHEST`, which also stands for no other
            that came so near; None where none was looked for, searching greedily.
    """

    latex: str
    tokens: tuple[str, ...]
    confidence: float
    score: float
    alternatives: tuple[Alternative, ...]
    timings: Timings
    token_log_probs: tuple[float, ...] = ()
    margin: float | None = None


def read_plainly(
    model: StepModel[Any, Any], manifest: Manifest, image: NDArray[np.float32]
) -> Hypothesis:
    """What a model writes for one image, [1, channels, h, w], greedily and without grammar: what
    proofs and self-tests compare."""
    [memory] = model.encode(image)
    vocabulary = manifest.vocabulary
    return greedy(
        model,
        memory,
        sos=vocabulary.sos,
        eos=vocabulary.eos,
        max_length=manifest.decoding.max_length,
    )


def reads_alike(found: Sequence[int], wanted: Sequence[int], precision: str) -> bool:
    """Whether a variant has read a formula as torch did in float32, who wrote the tokens `wanted`;
    of one with less precision it is enough that it has read something."""
    return list(found) == list(wanted) or (precision != "fp32" and len(found) > 0)


@dataclass(frozen=True)
class Running:
    """Which variant of a bundle runs, and why this one."""

    runtime: str
    precision: str
    why: str


class Recognizer:
    """Reads handwritten formulas with one model; `inktex.runtimes.load` makes one.

    Args:
        model: of any runtime.
        manifest: of the bundle that the model is from.
        running: which variant that is, where somebody chose it.

    Raises:
        BundleError: the bundle wants a preprocessing that this version does not know, or its
            encoder other images than that makes.
    """

    def __init__(
        self, model: StepModel[Any, Any], manifest: Manifest, running: Running | None = None
    ) -> None:
        size_limits(manifest.preprocessing)
        _check_channels(manifest)
        self.model = model
        self.manifest = manifest
        self.running = running

    def __call__(
        self,
        source: Source,
        *,
        beam: int | None = None,
        nbest: int = 1,
        constrain: bool = True,
        rescore: bool | None = None,
        draft: Sequence[str] | None = None,
        name: str = "",
    ) -> Result:
        """Read one formula.

        Args:
            source: see `Source`. Files are told apart by content, not by name.
            beam: hypotheses to follow; 1 is greedy. By default the bundle's number, or `nbest`
                where that is more; less where the variant was exported for less.
            nbest: readings wanted, the best included. Where it is one, hypotheses that lag by more
                than `confidence.FARTHEST` nats are given up.
            constrain: keep to well-formed formulas (balanced braces, two arguments of `\\frac`).
            rescore: rank the hypotheses of a beam by both directions; by default as the bundle
                says, of which not every one can.
            draft: tokens that may well come out, such as those of the last `Result` while more is
                being written: greedily, with a bundle that reads trees, what has not changed is
                read at once. It changes nothing but the time, up to rounding, by which two in a
                hundred readings differ in INT8.
            name: what to call the source in error messages; by default its path.

        Raises:
            InputError: a source that cannot be read, has no ink or is too large, `nbest` that is
                more than `beam`, a `beam` for which the variant was not exported, `rescore` of a
                bundle that cannot, or a draft for a beam, or of what are no tokens.
        """
        beam, nbest = self._widths(beam, nbest)
        draft = _checked_draft(draft)
        if rescore and not self.manifest.decoding.rescore:
            raise InputError(
                "rescore: expected a bundle whose decoder writes in both directions, found one "
                "that was exported without --rescore; leave it out"
            )
        if draft and beam > 1:
            raise InputError(
                f"draft: expected a greedy search, found {beam} beams; ask for beam=1, or leave "
                "the draft out"
            )
        began = time.perf_counter()
        image = prepare_image(source, self.manifest.preprocessing, name)
        read = time.perf_counter()
        [memory] = self.model.encode(image)
        encoded = time.perf_counter()
        hypotheses = self._search(
            memory, beam, nbest, constrain, rescore=rescore is not False, draft=draft
        )
        found = [self._alternative(each, hypotheses, beam) for each in hypotheses[:nbest]]
        decoded = time.perf_counter()
        best = found[0]
        return Result(
            latex=best.latex,
            tokens=best.tokens,
            confidence=best.confidence,
            score=best.score,
            alternatives=tuple(found[1:]),
            timings=Timings(
                read_ms=1e3 * (read - began),
                encode_ms=1e3 * (encoded - read),
                decode_ms=1e3 * (decoded - encoded),
                total_ms=1e3 * (decoded - began),
            ),
            token_log_probs=best.token_log_probs,
            margin=best.margin,
        )

    def explain(
        self,
        source: Source,
        *,
        beam: int | None = None,
        constrain: bool = True,
        name: str = "",
    ) -> Explanation:
        """Read one formula and tell where the model looked as it wrote each token.

        Args:
            source, beam, constrain, name: as for reading.

        Raises:
            InputError: as for reading; or the model read nothing, so that there is nothing to
                explain.
            BundleError: the bundle's decoder keeps no coverage.
            RuntimeUnavailable: the runtime does not tell the coverage.
        """
        model = attentive(self.model, self.manifest.interface)
        beam, _ = self._widths(beam, 1)
        image = prepare_image(source, self.manifest.preprocessing, name)
        [memory] = model.encode(image)
        best = self._search(memory, beam, 1, constrain)[0]
        if not best.tokens:
            raise InputError(
                f"{name or 'the input'}: expected a formula, found none that the recognizer could "
                "read, so that there is no attention to show"
            )
        vocabulary = self.manifest.vocabulary
        attention = attention_of(model, memory, best.tokens, vocabulary.sos)
        return Explanation(
            latex=to_latex(vocabulary.decode(best.tokens)),
            tokens=tuple(vocabulary.tokens[number] for number in best.tokens),
            image=image[0, 0],
            attention=on_grid(attention, *image.shape[2:]),
        )

    def _widths(self, beam: int | None, nbest: int) -> tuple[int, int]:
        for option, value in (("beam", beam), ("nbest", nbest)):
            if not (isinstance(value, int | np.integer) or (option == "beam" and value is None)):
                raise InputError(f"{option}: expected a whole number, found {value!r}")
        if nbest < 1:
            raise InputError(f"nbest: expected 1 or more readings, found {nbest}")
        most = self.model.most_beams if isinstance(self.model, LimitedModel) else None
        if beam is None:
            beam = max(self.manifest.decoding.beams, nbest)
            beam = beam if most is None else max(min(beam, most), nbest)
        if most is not None and beam > most:
            raise InputError(
                f"beam: expected at most {most}, for which this variant was exported, found "
                f"{beam}; ask for less, or use another runtime"
            )
        if beam < nbest:
            raise InputError(
                f"beam: expected nbest ({nbest}) or more, found {beam}; widen the beam"
            )
        return beam, nbest

    def _search(
        self,
        memory: Any,
        beam: int,
        nbest: int,
        constrain: bool,
        *,
        rescore: bool = True,
        draft: Sequence[str] = (),
    ) -> list[Hypothesis]:
        """Best first; with beams also the next, where it comes near, to compare with."""
        vocabulary, decoding = self.manifest.vocabulary, self.manifest.decoding
        constraint = self._grammar if constrain else None
        if beam == 1:
            return [
                greedy(
                    self.model,
                    memory,
                    sos=vocabulary.sos,
                    eos=vocabulary.eos,
                    max_length=decoding.max_length,
                    constraint=constraint,
                    # of another recognizer's tokens no more than those that this one knows
                    draft=vocabulary.encode(tuple(takewhile(vocabulary.__contains__, draft))),
                )
            ]
        rescore = rescore and decoding.rescore
        hypotheses = beam_search(
            self.model,
            memory,
            beams=beam,
            sos=vocabulary.sos,
            eos=vocabulary.eos,
            max_length=decoding.max_length,
            length_penalty=decoding.length_penalty,
            nbest=beam,  # a margin is to the likeliest other, however many are asked for
            # who wants more than one reading also wants those that are far behind
            lag=FARTHEST if nbest == 1 else inf,
            constraint=constraint,
        )
        if not rescore:
            return hypotheses
        return rescored(
            self.model,
            memory,
            hypotheses,
            sos=vocabulary.sos,
            eos=vocabulary.eos,
            length_penalty=decoding.length_penalty,
            nbest=beam,
        )

    @cached_property
    def _grammar(self) -> GrammarConstraint:
        return GrammarConstraint(self.manifest.vocabulary)

    def _alternative(
        self, hypothesis: Hypothesis, among: Sequence[Hypothesis], beam: int
    ) -> Alternative:
        """What is told of a hypothesis that a search found among others."""
        tokens = self.manifest.vocabulary.decode(hypothesis.tokens)
        calibration, log_probs = self.manifest.confidence, hypothesis.token_log_probs
        margin = None
        if beam > 1:
            others = [each.log_prob for each in among if each is not hypothesis]
            margin = min(hypothesis.log_prob - max(others, default=-inf), FARTHEST)
            calibration = self.manifest.beam_confidence or calibration
        if calibration is None:
            confidence = exp(min(hypothesis.log_prob, 0.0))
        else:
            confidence = calibration(log_probs, margin)
        return Alternative(
            to_latex(tokens), tuple(tokens), confidence, hypothesis.score, log_probs, margin
        )


def _checked_draft(draft: Sequence[str] | None) -> tuple[str, ...]:
    """The tokens of a draft; raises InputError where it is anything else."""
    if draft is None:
        return ()
    if isinstance(draft, str) or not isinstance(draft, Sequence):
        raise InputError(
            "draft: expected a list of tokens, such as the `tokens` of a result, found "
            f"{draft!r:.60}"
        )
    for token in draft:
        if not isinstance(token, str):
            raise InputError(f"draft: expected tokens, each a text, found {token!r:.60} among them")
    return tuple(draft)


def _check_channels(manifest: Manifest) -> None:
    """Raise BundleError unless the encoder takes what the preprocessing makes."""
    made = rendering_of(manifest.preprocessing).channels
    taken = manifest.interface.channels
    if made != taken:
        raise BundleError(
            f"expected an encoder of images with {made} channels, as the preprocessing "
            f"{manifest.preprocessing.name!r} makes them, found one that takes {taken}; export the "
            "bundle again"
        )
