"""Quantised graphs tried out on formulas: what they read, and what they think after each token."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bundle import Bundle, write_bundle
from ..core.errors import InputError, QuantizationError
from ..core.manifest import Variant
from ..core.preparation import prepare_image
from ..core.recognizer import Recognizer
from ..core.step_model import StepModel
from ..export.plain_graphs import model_of
from ..export.targets import Files
from ..training.evaluation import Sample, read_all
from ..training.inkset import Expression
from ..training.split import spread
from .quantizers import Quantizer


@dataclass(frozen=True)
class ForcedAgreement:
    """How far a variant thinks as float32 does after every token of the right captions (teacher
    forcing).

    Attributes:
        tokens: compared.
        equal: of these, how often both think the same token likeliest.
        divergence: the mean Kullback-Leibler divergence from float32's distribution, in nats.
    """

    tokens: int
    equal: int
    divergence: float

    @property
    def share(self) -> float:
        """Of the tokens, those that are equal, 0..1."""
        return self.equal / self.tokens


class Trials:
    """Measures variants of a bundle against its float32 one, on formulas with captions.

    Args:
        bundle: in float32.
        expressions: to read, all of them.
        forced: how many of them, spread over the set, tell how far a variant agrees.
        beams: hypotheses of the search; 1 is greedy.

    Raises:
        QuantizationError: an expression has no caption, or there is none at all.
    """

    def __init__(
        self, bundle: Bundle, expressions: Sequence[Expression], forced: int = 64, beams: int = 1
    ) -> None:
        if not expressions or not all(each.caption for each in expressions):
            raise QuantizationError(
                "expected formulas with captions to measure accuracy on, found "
                + ("some without" if expressions else "none")
                + "; name an ink set that has them with --validation"
            )
        self.bundle = bundle
        self.beams = beams
        self.samples = [Sample(each.identifier, each.source, each.caption) for each in expressions]
        self._forced = spread(expressions, forced)
        self.reference = bundle.variant("onnxruntime", "fp32")

    def right(self, variant: Variant, files: Files) -> list[bool]:
        """For every formula whether a variant reads it right."""
        with self.opened(variant, files) as model:
            return self.right_with(model, self.samples)

    def right_with(self, model: StepModel[Any, Any], samples: Sequence[Sample]) -> list[bool]:
        """For each of some samples whether a model reads it right."""
        recognizer = Recognizer(model, self.bundle.manifest)
        readings = read_all(recognizer, samples, beam=self.beams)
        return [each.tokens == each.caption for each in readings]

    def reference_right(self) -> list[bool]:
        """The same of the float32 variant."""
        return self.right(*self._of_bundle(self.reference))

    def agreement(self, variant: Variant, files: Files) -> ForcedAgreement:
        """How far a variant agrees with float32."""
        with self.opened(variant, files) as model:
            found = self._log_probs(model)
        equal = tokens = 0
        divergence = 0.0
        for one, other in zip(self._reference_log_probs, found, strict=True):
            tokens += len(one)
            equal += int((one.argmax(1) == other.argmax(1)).sum())
            # what is next to impossible may be minus infinity in one of them
            divergence += float((np.exp(one) * np.maximum(one - np.maximum(other, -50), -50)).sum())
        return ForcedAgreement(tokens, equal, divergence / tokens)

    @contextmanager
    def opened(self, variant: Variant, files: Files) -> Iterator[StepModel[Any, Any]]:
        """The model of a variant, as a bundle of its own, on one thread."""
        with tempfile.TemporaryDirectory(prefix="inktex-") as place:
            manifest = replace(self.bundle.manifest, variants=(variant,), golden=None)
            bundle = write_bundle(Path(place) / "bundle", manifest, dict(files))
            yield model_of(bundle, variant)

    def _of_bundle(self, variant: Variant) -> tuple[Variant, Files]:
        return variant, {name: self.bundle.read(name) for name in variant.graphs.values()}

    @cached_property
    def _prepared(self) -> list[tuple[NDArray[np.float32], list[int]]]:
        """Images and tokens of the formulas that tell the agreement."""
        manifest = self.bundle.manifest
        vocabulary, longest = manifest.vocabulary, manifest.decoding.max_length
        found = []
        for each in self._forced:
            if not all(token in vocabulary for token in each.caption):
                continue
            try:
                image = prepare_image(each.source, manifest.preprocessing)
            except InputError:
                continue
            found.append((image, [vocabulary.sos, *vocabulary.encode(each.caption)][:longest]))
        if not found:
            raise QuantizationError(
                "expected formulas in the recognizer's own tokens to measure accuracy on, found "
                "none; name another ink set with --validation"
            )
        return found

    @cached_property
    def _reference_log_probs(self) -> list[NDArray[np.float32]]:
        with self.opened(*self._of_bundle(self.reference)) as model:
            return self._log_probs(model)

    def _log_probs(self, model: StepModel[Any, Any]) -> list[NDArray[np.float32]]:
        """Of the token after each, [tokens, vocabulary], for every formula."""
        found = []
        for image, tokens in self._prepared:
            [memory] = model.encode(image)
            state = model.start(memory, 1)
            rows = []
            for token in tokens:
                log_probs, state = model.step(np.array([token]), memory, state)
                rows.append(log_probs[0])
            found.append(np.stack(rows))
        return found


def alone(quantizer: Quantizer, layer: str) -> Collection[str]:
    """What to keep so that only one layer is quantised."""
    return [each for each in quantizer.layers if each != layer]
