"""A bundle on ONNX Runtime, on the processor; `onnx_state` keeps what a decoding has in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.attention import coverage_states, on_all_cells
from ..core.bundle import Bundle, Interface, Variant
from ..core.errors import RuntimeUnavailable
from ..core.token_tree import TokenTree
from .graph_memory import compact_memories
from .graph_model import Watch, longest, states_of_nodes
from .onnx_session import loaded_library, open_session
from .onnx_state import Buffers, OrtMemory, OrtState, StepSession, places_of
from .processors import checked_threads

_PROBE_PX = 32  # height and width of the image that a provider has to encode before it is trusted


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
        self._value = loaded_library().OrtValue.ortvalue_from_numpy
        encoder, step = self.interface.encoder, self.interface.step
        self._encoder = open_session(bundle, variant.encoder, encoder, threads, provider)
        # The products of one step are too small to share out: waking a second thread costs more
        # than it brings, and one that waits awake (spins) takes a processor from everything else.
        self._step = StepSession(
            open_session(bundle, variant.step, step, 1, provider),
            self.interface,
            self.vocabulary_size,
            longest(bundle.manifest),
            self._value,
        )
        self._run_encoder = self._encoder.run_with_iobinding
        self._run_step = self._step.session.run_with_iobinding
        self._tree: Any = None
        if variant.tree and self.interface.tree is not None:
            self._tree = open_session(bundle, variant.tree, self.interface.tree, threads, provider)
            self._run_tree = self._tree.run_with_iobinding
        if provider != "cpu":
            self._probe(bundle)

    def encode(self, images: NDArray[np.float32]) -> list[OrtMemory]:
        """Run the encoder.

        Args:
            images: float32 `[batch, channels, height, width]`, ink = 1, paper = 0; height and width
                as the bundle's preprocessing demands.

        Returns:
            One memory per image.
        """
        binding = self._encoder.io_binding()
        images = np.ascontiguousarray(images, dtype=np.float32)
        binding.bind_ortvalue_input(self.interface.image, self._value(images))
        for tensor in self.interface.memory:
            binding.bind_output(tensor.name, "cpu")
        self._run_encoder(binding)
        names = [spec.name for spec in self.interface.memory]
        outputs = dict(zip(names, map(array_of, binding.get_outputs()), strict=True))
        return [
            OrtMemory(
                {name: self._value(array) for name, array in found.arrays.items()},
                found.sizes,
                found.kept,
            )
            for found in compact_memories(self.interface, outputs)
        ]

    def start(self, memory: OrtMemory, beams: int) -> OrtState:
        """The state before the first token: zeros, for `beams` hypotheses."""
        buffers = Buffers(self._step, memory)
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
        places = places_of(parents)
        source = buffers.views(state.beams).arrays[state.slot]
        target = buffers.views(beams).arrays[state.slot]
        moves = [each for each in zip(places, parents, strict=True) if each[0] != each[1]]
        for (tensor, spec), old, new in zip(self._step.parts, source, target, strict=True):
            axis = spec.shape.index("beams")
            written: list[Any] = [slice(None)] * old.ndim
            if tensor.length_axis is not None:  # the rest of a cache is never read
                written[tensor.length_axis] = slice(state.position)
            before, after = written[:axis], written[axis + 1 :]
            if axis and beams != state.beams:  # all of it lies elsewhere
                new[(*before, places, *after)] = old[(*before, parents, *after)]
                continue
            for place, parent in moves:
                new[(*before, place, *after)] = old[(*before, parent, *after)]
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

    @property
    def reads_trees(self) -> bool:
        """Whether the variant has a graph that does."""
        return self._tree is not None

    def read_tree(
        self, tree: TokenTree, memory: OrtMemory
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Say what may come next after every node of a tree, all at once.

        Args:
            memory: of the image.

        Returns:
            float32 `[nodes, vocabulary]` log-probabilities, and what `resume` wants.

        Raises:
            RuntimeError: the model reads no trees.
        """
        if self._tree is None or self.interface.tree is None:
            raise RuntimeError("read_tree: expected a model that reads trees; ask `reads_trees`")
        binding = self._tree.io_binding()
        values = {name: self._value(array) for name, array in tree.inputs.items()}
        for name, value in (*values.items(), *memory.values.items()):
            binding.bind_ortvalue_input(name, value)
        names = [spec.name for spec in self.interface.tree.outputs]
        for name in names:
            binding.bind_output(name, "cpu")
        self._run_tree(binding)
        nodes = dict(zip(names, binding.get_outputs(), strict=True))
        log_probs = array_of(nodes[self.interface.log_probs]).astype(np.float32, copy=False)
        return log_probs, nodes

    def resume(self, nodes: dict[str, Any], path: NDArray[np.int64], memory: OrtMemory) -> OrtState:
        """The state of one beam after some nodes of a tree.

        Args:
            nodes: of `read_tree`.
            path: int64 `[steps]`, from a root on.
            memory: that the tree was read with.
        """
        steps = len(path)
        buffers = Buffers(self._step, memory, steps)
        state = buffers.state(slot=0, beams=1, position=steps)
        arrays = buffers.views(1).arrays[state.slot]
        for (each, axis), array in zip(states_of_nodes(self.interface), arrays, strict=True):
            rows = array_of(nodes[each.output]).take(path, axis)
            if each.length_axis is None:
                array[...] = rows.sum(axis, keepdims=True)
            else:
                written: list[Any] = [slice(None)] * array.ndim
                written[each.length_axis] = slice(steps)
                array[tuple(written)] = rows
        return state

    def watch(self, encoder: Watch, step: Watch, tree: Watch) -> None:
        """As `GraphModel.watch`."""
        self._run_encoder = encoder(self._run_encoder)
        self._run_step = step(self._run_step)
        if self._tree is not None:
            self._run_tree = tree(self._run_tree)

    def _probe(self, bundle: Bundle) -> None:
        """Encode a blank image and make a step.

        Raises:
            RuntimeUnavailable: the provider fails.
        """
        image = np.zeros((1, self.interface.channels, _PROBE_PX, _PROBE_PX), np.float32)
        try:
            [memory] = self.encode(image)
            self.step(np.array([bundle.manifest.vocabulary.sos]), memory, self.start(memory, 1))
        except Exception as error:  # ONNX Runtime has a dozen kinds and no common one
            raise RuntimeUnavailable(
                f"ONNX Runtime's provider {self.provider} fails on this bundle: {error}; use "
                "another provider, or none"
            ) from error


def array_of(value: Any) -> NDArray[Any]:
    """What an ONNX Runtime value holds, where it lies; older releases can only copy it."""
    return np.from_dlpack(value) if hasattr(value, "__dlpack__") else value.numpy()
