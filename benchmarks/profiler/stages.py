"""A recognizer taken apart by the clock: how long each stage of a reading takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.image import read_gray
from ...core.preparation import Source
from ...core.recognizer import Recognizer
from ...core.step_model import StepModel, TreeModel
from ...core.token_tree import TokenTree
from ..formulas import Formula
from .contender import Reading
from .dataset import ink_of


class Clock:
    """Wraps functions, counts their calls and adds up their time.

    Attributes:
        ms, calls: since the last `reset`.
    """

    def __init__(self) -> None:
        self.ms = 0.0
        self.calls = 0

    def reset(self) -> None:
        """Start again from zero."""
        self.ms, self.calls = 0.0, 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, against the clock."""

        def timed(*arguments: Any) -> Any:
            began = perf_counter()
            result = function(*arguments)
            self.ms += 1e3 * (perf_counter() - began)
            self.calls += 1
            return result

        return timed


class ClockedModel:
    """A `StepModel` that times the calls of another.

    Attributes:
        encodes, steps, trees: the clocks of the calls that run graphs; what an adapter does around
            these is in them.
        states: that of the calls that make and gather states, which is the adapter's work alone.
        encoder_graph, step_graph, tree_graph: those of the graphs alone, where the model lets one
            `watch` it; else the same as the former.
    """

    def __init__(self, model: StepModel[Any, Any]) -> None:
        self._model = model
        self.encodes, self.steps, self.trees, self.states = Clock(), Clock(), Clock(), Clock()
        self.encoder_graph, self.step_graph = self.encodes, self.steps
        self.tree_graph = self.trees
        watch = getattr(model, "watch", None)
        if watch is not None:
            self.encoder_graph, self.step_graph, self.tree_graph = Clock(), Clock(), Clock()
            watch(self.encoder_graph, self.step_graph, self.tree_graph)
        self._encode = self.encodes(model.encode)
        self._step = self.steps(model.step)
        self._start = self.states(model.start)
        self._reorder = self.states(model.reorder)
        self.reads_trees = isinstance(model, TreeModel) and model.reads_trees
        if isinstance(model, TreeModel):
            self._read_tree = self.trees(model.read_tree)
            self.resume = self.states(model.resume)

    def reset(self) -> None:
        """Set all clocks to zero."""
        for clock in (
            *(self.encodes, self.steps, self.trees, self.states),
            *(self.encoder_graph, self.step_graph, self.tree_graph),
        ):
            clock.reset()

    @property
    def calls_ms(self) -> float:
        """All calls since then."""
        return self.encodes.ms + self.steps.ms + self.trees.ms + self.states.ms

    @property
    def stages_ms(self) -> dict[str, float]:
        """Of `STAGES` those that are spent in these calls."""
        graphs = {
            "encode": self.encoder_graph.ms,
            "step": self.step_graph.ms,
            "rescore": self.tree_graph.ms,
        }
        # of the encoder's call what is around it, too
        return {**graphs, "adapter": self.calls_ms - sum(graphs.values())}

    @property
    def vocabulary_size(self) -> int:
        """As the model's."""
        return self._model.vocabulary_size

    def encode(self, images: NDArray[np.float32]) -> Sequence[Any]:
        """As the model does."""
        memories: Sequence[Any] = self._encode(images)
        return memories

    def start(self, memory: Any, beams: int) -> Any:
        """As the model does."""
        return self._start(memory, beams)

    def step(
        self, tokens: NDArray[np.int64], memory: Any, state: Any
    ) -> tuple[NDArray[np.float32], Any]:
        """As the model does."""
        found: tuple[NDArray[np.float32], Any] = self._step(tokens, memory, state)
        return found

    def read_tree(self, tree: TokenTree, memory: Any) -> tuple[NDArray[np.float32], Any]:
        """As the model does."""
        found: tuple[NDArray[np.float32], Any] = self._read_tree(tree, memory)
        return found

    def reorder(self, state: Any, order: NDArray[np.int64]) -> Any:
        """As the model does."""
        return self._reorder(state, order)


def parsed(formula: Formula) -> Source:
    """What a file holds: ink, or pixels; strokes as they are.

    Raises:
        InputError: it cannot be read.
    """
    if not isinstance(formula.source, bytes):
        strokes: Source = formula.source
        return strokes
    ink = ink_of(formula)
    return read_gray(formula.source) if ink is None else ink


class StagedReader:
    """Reads formulas with a recognizer, whose model it clocks.

    Args:
        recognizer: changed by this: its model is a clocked one from now on.
        constrain: keep to well-formed formulas.
    """

    def __init__(self, recognizer: Recognizer, beams: int, constrain: bool = True) -> None:
        self._recognizer = recognizer
        model = recognizer.model
        self._model = model if isinstance(model, ClockedModel) else ClockedModel(model)
        recognizer.model = self._model
        self._beams = beams
        self._constrain = constrain

    def __call__(self, formula: Formula, draft: Sequence[str] = ()) -> Reading:
        """Read one, from the bytes of a file or strokes in memory to LaTeX.

        Args:
            draft: what may well come out, for a greedy search; beams leave it alone.

        Raises:
            InputError: it cannot be read.
        """
        model = self._model
        model.reset()
        began = perf_counter()
        source = parsed(formula)
        read = perf_counter()
        result = self._recognizer(
            source,
            beam=self._beams,
            constrain=self._constrain,
            draft=draft if self._beams == 1 else (),
            name=formula.name,
        )
        ended = perf_counter()
        times = result.timings
        return Reading(
            1e3 * (ended - began),
            result.tokens,
            model.steps.calls,
            {
                "read": 1e3 * (read - began),
                "prepare": times.read_ms,
                **model.stages_ms,
                "search": times.total_ms - times.read_ms - model.calls_ms,
            },
        )
