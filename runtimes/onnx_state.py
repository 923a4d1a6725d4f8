"""The state of a decoding on ONNX Runtime: buffers that it reads and writes where they lie.

It never passes through numpy between two steps (IO binding). A cache whose rows the graph writes
one by one has one buffer, the other tensors two, one holding the state and one taking the next, in
turn. The memory of an image is bound once and shared by all beams. A hypothesis keeps its row of
the buffers where it can, so that a change of their order copies those alone that follow on the
same one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.interface import Interface, StateSpec, TensorSpec
from .graph_model import FIRST_LENGTH


class StatePart(NamedTuple):
    """A tensor of the state: the part that it plays, and its dtype and shape."""

    state: StateSpec
    spec: TensorSpec


class StepSession:
    """The step graph, as the buffers of a state are bound to it.

    Args:
        session: ONNX Runtime's, of the graph.
        interface: the bundle's.
        vocabulary_size: width of the log-probabilities.
        max_length: steps that can be made.
        value: makes an ONNX Runtime value on the memory of an array, which it keeps alive.

    Attributes:
        parts: of the state, in the interface's order.
        log_probs_dtype: as the graph writes them.
    """

    def __init__(
        self,
        session: Any,
        interface: Interface,
        vocabulary_size: int,
        max_length: int,
        value: Callable[[NDArray[Any]], Any],
    ) -> None:
        self.session = session
        self.interface = interface
        self.vocabulary_size = vocabulary_size
        self.max_length = max_length
        self.value = value
        # asked for at every formula, and looked up among dozens of names
        step = interface.step
        self.parts = [StatePart(each, step[each.input]) for each in interface.state]
        self.log_probs_dtype = step[interface.log_probs].dtype


@dataclass(frozen=True)
class OrtMemory:
    """What is known of one image before the first token.

    Attributes:
        values: tensor name -> ONNX Runtime value, batch 1; masked cells are left out.
        sizes: of its dynamic axes, by name: how many cells are left, or rows and columns.
        kept: bool `[cells]`, which cells of the image are left; None where all are.
    """

    values: dict[str, Any]
    sizes: dict[str, int]
    kept: NDArray[np.bool_] | None = None


class OrtState(NamedTuple):
    """The state of `beams` hypotheses, in one of the two slots of a decoding's buffers.

    A state is used up by the second `step` after it, which reuses its slot, or by a `reorder` that
    moves its rows; using it later raises RuntimeError.

    Attributes:
        rows: int64 `[beams]`, the row of the buffers that each hypothesis has; None for 0, 1, 2, …
    """

    buffers: Buffers
    slot: int
    beams: int
    position: int
    serial: int
    rows: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Views:
    """The buffers as arrays for one number of beams, and the two bindings of a step on them.

    `bindings[slot]` reads the state in `arrays[slot]` and writes it to `arrays[1 - slot]`, which is
    the same array where a tensor has one buffer.
    """

    arrays: tuple[list[NDArray[Any]], list[NDArray[Any]]]
    bindings: tuple[Any, Any]
    tokens: NDArray[np.int64]
    position: NDArray[np.int64]
    log_probs: NDArray[Any]


def places_of(parents: list[int]) -> list[int]:
    """A row for each hypothesis, out of as many as there are: that of its parent, unless an earlier
    one has it or it is past the last row."""
    count = len(parents)
    first = {parent: number for number, parent in reversed([*enumerate(parents)]) if parent < count}
    free = iter([row for row in range(count) if row not in first])
    return [
        parent if first.get(parent) == number else next(free)
        for number, parent in enumerate(parents)
    ]


class Buffers:
    """Buffers for each tensor of the state, for as many beams as were ever asked for: one where
    the graph may write it in place, else two.

    They start as zeros and only ever hold states, so whatever an unused part of a cache holds is
    finite, and a weight of zero takes it out.

    Args:
        steps: that they have room for at once.
    """

    def __init__(self, graph: StepSession, memory: OrtMemory, steps: int = 0) -> None:
        self.graph = graph
        self.memory = memory
        self._capacity = 0
        self._flat: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
        self._views: dict[int, Views] = {}
        self._serials = count()
        self._current = [-1, -1]
        self.length = min(max(FIRST_LENGTH, steps), graph.max_length)

    def state(
        self, slot: int, beams: int, position: int, rows: NDArray[np.int64] | None = None
    ) -> OrtState:
        """The state now in `slot`; any older one there is used up."""
        self._current[slot] = next(self._serials)
        return OrtState(self, slot, beams, position, self._current[slot], rows)

    def moved(self, state: OrtState, beams: int, rows: NDArray[np.int64] | None) -> OrtState:
        """A state once its rows were moved in its own slot; all older ones are used up."""
        self._current[1 - state.slot] = -1
        return self.state(state.slot, beams, state.position, rows)

    def check(self, state: OrtState) -> None:
        """Refuse a state whose buffer holds another by now."""
        if self._current[state.slot] != state.serial:
            raise RuntimeError("the state is used up: its buffer holds a later one")

    def make_room(self, state: OrtState) -> None:
        """Lengthen the caches when `state` fills them. A short cache is what makes a step of a
        short formula cheap: every step reads and writes all of it.

        Raises:
            InputError: the decoder counts no further.
        """
        if state.position >= self.graph.max_length:
            raise InputError(
                f"expected at most {self.graph.max_length} tokens, as the decoder counts, found "
                "more; decode with a smaller max_length"
            )
        if state.position < self.length:
            return
        old = self.views(state.beams).arrays[state.slot]
        self.length = min(2 * self.length, self.graph.max_length)
        self._flat, self._views = self._zeros(), {}
        self._current[1 - state.slot] = -1
        new = self.views(state.beams).arrays[state.slot]
        for source, target in zip(old, new, strict=True):
            target[tuple(map(slice, source.shape))] = source

    def views(self, beams: int) -> Views:
        """The buffers seen as `beams` beams; made when first wanted."""
        if beams > self._capacity:
            older = self._flat
            self._capacity, self._views = beams, {}
            self._flat = self._zeros()
            # what has the beams outermost lies where it lay
            for old, new in zip(chain(*older), chain(*self._flat), strict=False):
                new[: len(old)] = old
        if beams not in self._views:
            self._views[beams] = self._make_views(beams)
        return self._views[beams]

    def _zeros(self) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """New buffers for both slots."""
        parts = self.graph.parts
        one = [
            np.zeros(prod(shape), part.spec.dtype)
            for part, shape in zip(parts, self._shapes(self._capacity), strict=True)
        ]
        other = [
            array if part.state.in_place else np.zeros_like(array)
            for part, array in zip(parts, one, strict=True)
        ]
        return one, other

    def _shapes(self, beams: int) -> list[tuple[int, ...]]:
        """Of the tensors of the state."""
        sizes = {**self.memory.sizes, "beams": beams, "length": self.length}
        return [
            tuple([size if isinstance(size, int) else sizes[size] for size in part.spec.shape])
            for part in self.graph.parts
        ]

    def _make_views(self, beams: int) -> Views:
        graph, interface = self.graph, self.graph.interface
        shapes = self._shapes(beams)
        arrays: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
        values: tuple[list[Any], list[Any]] = ([], [])
        for slot in (0, 1):
            for number, (state, _) in enumerate(graph.parts):
                if slot and state.in_place:
                    arrays[slot].append(arrays[0][number])
                    values[slot].append(values[0][number])
                    continue
                shape = shapes[number]
                array = self._flat[slot][number][: prod(shape)].reshape(shape)
                arrays[slot].append(array)
                values[slot].append(graph.value(array))
        tokens = np.zeros(beams, np.int64)
        position = np.zeros(1, np.int64)
        log_probs = np.zeros((beams, graph.vocabulary_size), graph.log_probs_dtype)
        fixed = {
            **self.memory.values,
            interface.tokens: graph.value(tokens),
            interface.position: graph.value(position),
        }
        result = graph.value(log_probs)
        bindings = []
        for slot in (0, 1):
            binding = graph.session.io_binding()
            for name, value in fixed.items():
                binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(interface.log_probs, result)
            for number, (state, _) in enumerate(graph.parts):
                binding.bind_ortvalue_input(state.input, values[slot][number])
                binding.bind_ortvalue_output(state.output, values[1 - slot][number])
            bindings.append(binding)
        return Views(arrays, (bindings[0], bindings[1]), tokens, position, log_probs)
