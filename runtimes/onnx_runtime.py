"""A bundle on ONNX Runtime, on the processor.

The decoder's state never passes through numpy between two steps: ONNX Runtime reads and writes it
where it lies (IO binding). A cache whose rows the graph writes one by one has one buffer, the
other tensors two, one holding the state and one taking the next, in turn. The memory of an image is
bound once and shared by all beams. A hypothesis keeps its row of the buffers where it can, so that
a change of their order copies those alone that follow on the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.attention import coverage_states, on_all_cells
from ..core.bundle import Bundle, Interface, TensorSpec, Variant
from ..core.errors import BundleError, InputError, RuntimeUnavailable
from .graph_model import FIRST_LENGTH, Watch, compact_memory, longest
from .onnx_session import loaded_library, open_session
from .processors import checked_threads

_PROBE_PX = 32  # height and width of the image that a provider has to encode before it is trusted


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


@dataclass(frozen=True)
class OrtState:
    """The state of `beams` hypotheses, in one of the two slots of a decoding's buffers.

    A state is used up by the second `step` after it, which reuses its slot, or by a `reorder` that
    moves its rows; using it later raises RuntimeError.

    Attributes:
        rows: int64 `[beams]`, the row of the buffers that each hypothesis has; None for 0, 1, 2, …
    """

    buffers: _Buffers = field(repr=False)
    slot: int
    beams: int
    position: int
    serial: int
    rows: NDArray[np.int64] | None = None


class OnnxRuntimeModel:
    """A `StepModel` that runs the graphs of one variant of a bundle.

    May be used from several threads at once; a state belongs to one of them.

    Args:
        bundle: as `Bundle.open` gives it.
        variant: one whose graphs are ONNX files, or in ONNX Runtime's own format (.ort).
        threads: threads of the encoder, by default `default_threads()`.
        provider: one of `onnx_session.PROVIDERS`, which runs all that it can of both graphs; the
            processor runs the rest. It is tried on a blank image at once, and never replaced in
            silence.

    Raises:
        RuntimeUnavailable: onnxruntime is not installed, or has no such provider, or has it and
            cannot run it here.
        BundleError: a graph that ONNX Runtime refuses, or whose inputs and outputs are not
            those of the manifest.
        InputError: fewer than one thread.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        threads: int | None = None,
        provider: str = "cpu",
    ) -> None:
        threads = checked_threads(threads)
        self.provider = provider
        self.interface: Interface = bundle.manifest.interface
        self.threads = threads
        self.vocabulary_size = len(bundle.manifest.vocabulary)
        self.max_length = longest(bundle.manifest)
        self._ort = loaded_library()
        encoder, step = self.interface.encoder, self.interface.step
        self._encoder = open_session(bundle, variant.encoder, encoder, threads, provider)
        # The products of one step are too small to share out: waking a second thread costs more
        # than it brings, and one that waits awake (spins) takes a processor from everything else.
        self._step = open_session(bundle, variant.step, step, 1, provider)
        self._run_encoder = self._encoder.run_with_iobinding
        self._run_step = self._step.run_with_iobinding
        if provider != "cpu":
            self._probe(bundle)
        shape = self.interface.step[self.interface.log_probs].shape
        if len(shape) != 2 or shape[1] not in (self.vocabulary_size, "vocabulary"):
            raise BundleError(
                f"{bundle.path}: expected log-probabilities [beams, {self.vocabulary_size}] as the "
                f"vocabulary has tokens, found {list(shape)}; export the bundle again"
            )

    def encode(self, images: NDArray[np.float32]) -> list[OrtMemory]:
        """Run the encoder.

        Args:
            images: float32 `[batch, 1, height, width]`, ink = 1, paper = 0; height and width as
                the bundle's preprocessing demands.

        Returns:
            One memory per image.
        """
        binding = self._encoder.io_binding()
        images = np.ascontiguousarray(images, dtype=np.float32)
        binding.bind_ortvalue_input(self.interface.image, self._value(images))
        for tensor in self.interface.memory:
            binding.bind_output(tensor.name, "cpu")
        self._run_encoder(binding)
        outputs = [output.numpy() for output in binding.get_outputs()]
        memories = []
        for number in range(len(images)):
            one = [array[number : number + 1] for array in outputs]
            names = [spec.name for spec in self.interface.memory]
            found = compact_memory(self.interface, dict(zip(names, one, strict=True)))
            values = {name: self._value(array) for name, array in found.arrays.items()}
            memories.append(OrtMemory(values, found.sizes, found.kept))
        return memories

    def start(self, memory: OrtMemory, beams: int) -> OrtState:
        """The state before the first token: zeros, for `beams` hypotheses."""
        buffers = _Buffers(self, memory)
        buffers.views(beams)
        return buffers.state(slot=0, beams=beams, position=0)

    def step(
        self, tokens: NDArray[np.int64], memory: OrtMemory, state: OrtState
    ) -> tuple[NDArray[np.float32], OrtState]:
        """Write one token on every beam.

        Args:
            tokens: int64 `[beams]`, the tokens last written, `<sos>` at first.
            memory: the one that `state` was started with.
            state: used up by this.

        Returns:
            float32 `[beams, vocabulary]` log-probabilities of the next token, and the state after.

        Raises:
            RuntimeError: a state that is used up, or of another memory.
            InputError: the state's cache is full.
        """
        buffers = state.buffers
        buffers.check(state)
        if memory is not buffers.memory:
            raise RuntimeError("step: the state was started with another memory")
        buffers.make_room(state)
        views = buffers.views(state.beams)
        rows: Any = slice(None) if state.rows is None else state.rows
        views.tokens[rows] = tokens
        views.position[0] = state.position
        self._run_step(views.bindings[state.slot])
        log_probs = views.log_probs[rows].astype(np.float32)  # a copy: the next step writes there
        following = buffers.state(1 - state.slot, state.beams, state.position + 1, state.rows)
        return log_probs, following

    def reorder(self, state: OrtState, order: NDArray[np.int64]) -> OrtState:
        """The state whose beam i is beam `order[i]` of `state`; nothing is copied for 0, 1, 2, …

        Args:
            order: int64 `[beams']`, any number of beams, each as often as wanted.

        Raises:
            RuntimeError: a state that is used up.
        """
        buffers = state.buffers
        buffers.check(state)
        beams = len(order)
        if beams == state.beams and np.array_equal(order, np.arange(beams)):
            return state
        parents = (order if state.rows is None else state.rows[order]).tolist()
        places = _places(parents)
        source = buffers.views(state.beams).arrays[state.slot]
        target = buffers.views(beams).arrays[state.slot]
        moves = [each for each in zip(places, parents, strict=True) if each[0] != each[1]]
        for tensor, old, new in zip(self.interface.state, source, target, strict=True):
            axis = self.interface.step[tensor.input].shape.index("beams")
            if axis:  # with another number of beams all of it lies elsewhere
                new[...] = old.take([parents[places.index(row)] for row in range(beams)], axis)
                continue
            written: list[Any] = [slice(None)] * (old.ndim - 1)
            if tensor.length_axis is not None:  # the rest of a cache is never read
                written[tensor.length_axis - 1] = slice(state.position)
            for place, parent in moves:
                new[(place, *written)] = old[(parent, *written)]
        rows = None if places == list(range(beams)) else np.array(places)
        return buffers.moved(state, beams, rows)

    def coverage(self, state: OrtState) -> NDArray[np.float32]:
        """The sum of the attention in all steps up to `state`, of its first beam.

        Returns:
            float32 `[layers, heads, cells]`, a copy; all cells of the image, row by row, masked
            ones with 0.

        Raises:
            BundleError: the decoder keeps no coverage.
            RuntimeError: a state that is used up.
        """
        buffers = state.buffers
        buffers.check(state)
        names = [each.input for each in self.interface.state]
        arrays = buffers.views(state.beams).arrays[state.slot]
        first = 0 if state.rows is None else int(state.rows[0])
        found = []
        for name in coverage_states(self.interface):
            spec = self.interface.step[name]
            array = arrays[names.index(name)].take([first], spec.shape.index("beams"))
            found.append(on_all_cells(array, spec, buffers.memory.kept))
        return np.concatenate(found)

    def watch(self, encoder: Watch, step: Watch) -> None:
        """As `GraphModel.watch`."""
        self._run_encoder = encoder(self._run_encoder)
        self._run_step = step(self._run_step)

    def _probe(self, bundle: Bundle) -> None:
        """Encode a blank image and make a step.

        Raises:
            RuntimeUnavailable: the provider fails.
        """
        image = np.zeros((1, 1, _PROBE_PX, _PROBE_PX), np.float32)
        try:
            [memory] = self.encode(image)
            self.step(np.array([bundle.manifest.vocabulary.sos]), memory, self.start(memory, 1))
        except Exception as error:  # ONNX Runtime has a dozen kinds and no common one
            raise RuntimeUnavailable(
                f"ONNX Runtime's provider {self.provider} fails on this bundle: {error}; use "
                "another provider, or none"
            ) from error

    def _value(self, array: NDArray[Any]) -> Any:
        """An ONNX Runtime value on the memory of `array`, which it keeps alive."""
        return self._ort.OrtValue.ortvalue_from_numpy(array)


@dataclass(frozen=True)
class _Views:
    """The buffers as arrays for one number of beams, and the two bindings of a step on them.

    `bindings[slot]` reads the state in `arrays[slot]` and writes it to `arrays[1 - slot]`, which is
    the same array where a tensor has one buffer.
    """

    arrays: tuple[list[NDArray[Any]], list[NDArray[Any]]]
    bindings: tuple[Any, Any]
    tokens: NDArray[np.int64]
    position: NDArray[np.int64]
    log_probs: NDArray[Any]


def _places(parents: list[int]) -> list[int]:
    """A row for each hypothesis, out of as many as there are: that of its parent, unless an earlier
    one has it or it is past the last row."""
    count = len(parents)
    first = {parent: number for number, parent in reversed([*enumerate(parents)]) if parent < count}
    free = iter([row for row in range(count) if row not in first])
    return [
        parent if first.get(parent) == number else next(free)
        for number, parent in enumerate(parents)
    ]


class _Buffers:
    """Buffers for each tensor of the state, for as many beams as were ever asked for: one where
    the graph may write it in place, else two.

    They start as zeros and only ever hold states, so whatever an unused part of a cache holds is
    finite, and a weight of zero takes it out.
    """

    def __init__(self, model: OnnxRuntimeModel, memory: OrtMemory) -> None:
        self.model = model
        self.memory = memory
        self._capacity = 0
        self._flat: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
        self._views: dict[int, _Views] = {}
        self._serials = count()
        self._current = [-1, -1]
        self.length = min(FIRST_LENGTH, model.max_length)

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
        if state.position >= self.model.max_length:
            raise InputError(
                f"expected at most {self.model.max_length} tokens, as the decoder counts, found "
                "more; decode with a smaller max_length"
            )
        if state.position < self.length:
            return
        old = self.views(state.beams).arrays[state.slot]
        self.length = min(2 * self.length, self.model.max_length)
        self._flat, self._views = self._zeros(), {}
        self._current[1 - state.slot] = -1
        new = self.views(state.beams).arrays[state.slot]
        for source, target in zip(old, new, strict=True):
            target[tuple(map(slice, source.shape))] = source

    def views(self, beams: int) -> _Views:
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
        one = [
            np.zeros(int(np.prod(self._shape(spec, self._capacity))), spec.dtype)
            for spec in self._specs
        ]
        states = self.model.interface.state
        other = [
            array if state.in_place else np.zeros_like(array)
            for state, array in zip(states, one, strict=True)
        ]
        return one, other

    @property
    def _specs(self) -> list[TensorSpec]:
        interface = self.model.interface
        return [interface.step[state.input] for state in interface.state]

    def _shape(self, spec: TensorSpec, beams: int) -> tuple[int, ...]:
        sizes = {**self.memory.sizes, "beams": beams, "length": self.length}
        return tuple(size if isinstance(size, int) else sizes[size] for size in spec.shape)

    def _make_views(self, beams: int) -> _Views:
        model, interface = self.model, self.model.interface
        arrays: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
        for slot in (0, 1):
            for spec, flat in zip(self._specs, self._flat[slot], strict=True):
                shape = self._shape(spec, beams)
                arrays[slot].append(flat[: int(np.prod(shape))].reshape(shape))
        values = [[model._value(array) for array in arrays[slot]] for slot in (0, 1)]
        tokens = np.zeros(beams, np.int64)
        position = np.zeros(1, np.int64)
        dtype = interface.step[interface.log_probs].dtype
        log_probs = np.zeros((beams, model.vocabulary_size), dtype)
        fixed = {
            **self.memory.values,
            interface.tokens: model._value(tokens),
            interface.position: model._value(position),
        }
        result = model._value(log_probs)
        bindings = []
        for slot in (0, 1):
            binding = model._step.io_binding()
            for name, value in fixed.items():
                binding.bind_ortvalue_input(name, value)
            binding.bind_ortvalue_output(interface.log_probs, result)
            for number, state in enumerate(interface.state):
                binding.bind_ortvalue_input(state.input, values[slot][number])
                binding.bind_ortvalue_output(state.output, values[1 - slot][number])
            bindings.append(binding)
        return _Views(arrays, (bindings[0], bindings[1]), tokens, position, log_probs)
