"""Reading with any `StepModel`, with inktex's own search and stage by stage, without a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DataError
from ...core.manifest import Preprocessing
from ...core.preparation import PREPROCESSING, WITH_TRAIL, prepare_image, rendering_of
from ...core.rendering import Rendering
from ...core.search import beam_search, greedy
from ...core.step_model import StepModel
from ...core.vocabulary import Vocabulary
from ..formulas import Formula
from ..profiler.contender import Reading
from ..profiler.stages import ClockedModel, parsed


def seen_at(preprocessing: Preprocessing, rendering: Rendering) -> Preprocessing:
    """The same at another scale, with the trail of the pen or without."""
    own = rendering_of(preprocessing).symbol_px
    most = preprocessing.parameters["max_pixels"]
    assert isinstance(most, int)
    larger = max(rendering.symbol_px / own, 1.0) ** 2
    changed = {
        "symbol_px": rendering.symbol_px,
        "pen_px": rendering.pen_px,
        "max_pixels": round(most * larger),
    }
    parameters = {**preprocessing.parameters, **changed}
    name = WITH_TRAIL if rendering.trail else PREPROCESSING
    return replace(preprocessing, name=name, parameters=parameters)


@dataclass
class ForcedLength:
    """A `StepModel` that ends after as many steps as it is told, whatever another thinks likely:
    random weights never end, or at once, and their time would say nothing.

    Attributes:
        steps: to make, that of `<eos>` included.
    """

    model: StepModel[Any, Any]
    vocabulary: Vocabulary
    steps: int = 1
    _made: int = 0

    @property
    def vocabulary_size(self) -> int:
        """As the model's."""
        return self.model.vocabulary_size

    def encode(self, images: NDArray[np.float32]) -> Any:
        """As the model does."""
        return self.model.encode(images)

    def start(self, memory: Any, beams: int) -> Any:
        """As the model does; counts from here."""
        self._made = 0
        return self.model.start(memory, beams)

    def step(
        self, tokens: NDArray[np.int64], memory: Any, state: Any
    ) -> tuple[NDArray[np.float32], Any]:
        """As the model does, but for `<eos>`."""
        log_probs, state = self.model.step(tokens, memory, state)
        self._made += 1
        log_probs = log_probs.copy()
        if self._made < self.steps:
            log_probs[:, [self.vocabulary.eos, self.vocabulary.pad]] = -np.inf
        else:
            likely = log_probs[:, self.vocabulary.eos].copy()
            log_probs[:] = -np.inf
            log_probs[:, self.vocabulary.eos] = likely
        return log_probs, state

    def reorder(self, state: Any, order: NDArray[np.int64]) -> Any:
        """As the model does."""
        return self.model.reorder(state, order)


class StepReader:
    """Reads formulas with a model.

    Args:
        max_length: steps that a search may make.
        forced: write as many tokens as the caption has, since the weights are random.
    """

    def __init__(
        self,
        model: StepModel[Any, Any],
        vocabulary: Vocabulary,
        preprocessing: Preprocessing,
        *,
        beams: int,
        max_length: int,
        forced: bool,
    ) -> None:
        self._model = ClockedModel(model)
        self._forced = ForcedLength(self._model, vocabulary) if forced else None
        self._searched: StepModel[Any, Any] = self._forced or self._model
        self._vocabulary = vocabulary
        self._preprocessing = preprocessing
        self._beams = beams
        self._max_length = max_length

    def __call__(self, formula: Formula) -> Reading:
        """Read one to its tokens, without grammar, as published systems do.

        Raises:
            InputError: it cannot be read.
            DataError: its caption is not known, which should tell how long to write.
        """
        model = self._model
        if self._forced is not None:
            if formula.caption is None:
                raise DataError(
                    f"{formula.name}: expected a caption, which tells random weights how much to "
                    "write, found none; give ink with captions, or weights"
                )
            self._forced.steps = min(len(formula.caption) + 1, self._max_length)
        model.reset()
        began = perf_counter()
        source = parsed(formula)
        read = perf_counter()
        image = prepare_image(source, self._preprocessing, formula.name)
        prepared = perf_counter()
        [memory] = model.encode(image)
        numbers = self._written(memory)
        tokens = tuple(self._vocabulary.decode(numbers))
        ended = perf_counter()
        return Reading(
            1e3 * (ended - began),
            tokens,
            model.steps.calls,
            {
                "read": 1e3 * (read - began),
                "prepare": 1e3 * (prepared - read),
                **model.stages_ms,
                "search": 1e3 * (ended - prepared) - model.calls_ms,
            },
        )

    def _written(self, memory: Any) -> tuple[int, ...]:
        sos, eos, longest = self._vocabulary.sos, self._vocabulary.eos, self._max_length
        if self._beams == 1:
            return greedy(self._searched, memory, sos=sos, eos=eos, max_length=longest).tokens
        best, *_ = beam_search(
            self._searched, memory, beams=self._beams, sos=sos, eos=eos, max_length=longest
        )
        return best.tokens
