"""A `StepModel` over two graphs that take and give plain arrays, for any runtime that has no more
to offer: an adapter loads the graphs, and this keeps account of memory, state and beams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.attention import coverage_states, on_all_cells, on_grid
from ..core.errors import InputError
from ..core.interface import Interface, StateSpec
from ..core.manifest import Manifest
from ..core.token_tree import TokenTree
from .graph_memory import GraphMemory, compact_memories

Arrays: TypeAlias = dict[str, Any]
"""By name: numpy's arrays, or those of another `Store`."""
Graph: TypeAlias = Callable[[Mapping[str, Any]], Arrays]
"""Inputs by name to outputs by name; the outputs stay as they are when it is called again. May be
called from several threads at once. Images, tokens and positions come as numpy's arrays, all else
as the model's store has it; what comes out is the store's."""
Watch: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What runs a graph to what is called in its place: to time it, say."""

FIRST_LENGTH = 32
"""Steps that a cache has room for at first: most formulas are shorter."""


class Graphs(NamedTuple):
    """The graphs of a variant, loaded; most runtimes have none for trees."""

    encoder: Graph
    step: Graph
    tree: Graph | None = None


class Store(Protocol):
    """Where memories and states lie: on the host, or wherever the graphs are run."""

    def put(self, array: NDArray[Any]) -> Any:
        """From the host."""
        ...

    def get(self, array: Any) -> NDArray[Any]:
        """To the host."""
        ...

    def zeros(self, shape: Sequence[int], dtype: Any) -> Any:
        """As numpy's."""
        ...

    def take(self, array: Any, order: NDArray[np.int64], axis: int) -> Any:
        """As numpy's."""
        ...

    def grow(self, array: Any, axis: int, length: int) -> Any:
        """With zeros at the end of an axis, up to a length."""
        ...


class HostStore:
    """Arrays of numpy."""

    def put(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def get(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def zeros(self, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
        return np.zeros(shape, dtype)

    def take(self, array: NDArray[Any], order: NDArray[np.int64], axis: int) -> NDArray[Any]:
        return array.take(order, axis)

    def grow(self, array: NDArray[Any], axis: int, length: int) -> NDArray[Any]:
        more = [(0, 0)] * array.ndim
        more[axis] = (0, length - array.shape[axis])
        return np.pad(array, more)


class GraphState(NamedTuple):
    """The state of some hypotheses.

    arrays: by the names of the step's inputs
    position: steps made
    memory: that it was started with
    """

    arrays: Arrays
    position: int
    memory: GraphMemory


class GraphModel:
    """A `StepModel`; may be used from several threads at once.

    Args:
        limits: of dynamic axes, as `Variant.limits`; where the batch's is 1, the images of a batch
            are encoded one by one.
        store: where memories and states lie, by default on the host.
        image_sizes: as `Variant.image_sizes`.

    Attributes:
        max_length: steps that can be made.
    """

    def __init__(
        self,
        manifest: Manifest,
        graphs: Graphs,
        limits: Mapping[str, int] = MappingProxyType({}),
        store: Store | None = None,
        image_sizes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.interface: Interface = manifest.interface
        self.vocabulary_size = len(manifest.vocabulary)
        self.max_length = longest(manifest)
        self.graphs = graphs
        self.limits = limits
        self.store: Store = store or HostStore()
        self.image_sizes = sorted(image_sizes, key=lambda size: size[0] * size[1])

    def watch(self, encoder: Watch, step: Watch, tree: Watch) -> None:
        """From now on, have the graphs run through something that looks on."""
        graphs = self.graphs
        self.graphs = Graphs(
            encoder(graphs.encoder), step(graphs.step), graphs.tree and tree(graphs.tree)
        )

    @property
    def most_beams(self) -> int | None:
        """As `LimitedModel.most_beams`."""
        return self.limits.get("beams")

    @property
    def reads_trees(self) -> bool:
        """Whether there is a graph that does."""
        return self.graphs.tree is not None

    def read_tree(self, tree: TokenTree, memory: GraphMemory) -> tuple[NDArray[np.float32], Arrays]:
        """As `TreeModel.read_tree`.

        Raises:
            RuntimeError: there is no graph that reads trees.
        """
        if self.graphs.tree is None:
            raise RuntimeError("read_tree: expected a model that reads trees; ask `reads_trees`")
        nodes = self.graphs.tree({**tree.inputs, **memory.arrays})
        found = self.store.get(nodes[self.interface.log_probs])
        return found.astype(np.float32, copy=False), nodes

    def resume(self, nodes: Arrays, path: NDArray[np.int64], memory: GraphMemory) -> GraphState:
        """As `TreeModel.resume`."""
        arrays: Arrays = {}
        for state, axis in states_of_nodes(self.interface):
            rows = self.store.take(nodes[state.output], path, axis)
            if state.length_axis is None:
                added = self.store.get(rows).sum(axis, keepdims=True)
                arrays[state.input] = self.store.put(added)
                continue
            shape = self.interface.step[state.input].shape
            fixed = shape[state.length_axis]
            room = min(max(FIRST_LENGTH, len(path)), self.max_length)
            length = fixed if isinstance(fixed, int) else room
            arrays[state.input] = self.store.grow(rows, state.length_axis, length)
        return GraphState(arrays, len(path), memory)

    def encode(self, images: NDArray[np.float32]) -> list[GraphMemory]:
        """images float32 `[batch, channels, height, width]`, ink 1 on 0 -> one memory an image

        Raises:
            InputError: an image, or what is left of it, is larger than the graphs were made for.
        """
        if len(images) > self.limits.get("batch", len(images)):
            return [memory for image in images for memory in self.encode(image[None])]
        self._check(height=images.shape[2], width=images.shape[3])
        shape, padded = images.shape[2:], self._padded_size(*images.shape[2:])
        if padded != shape:
            more = [(0, 0), (0, 0), (0, padded[0] - shape[0]), (0, padded[1] - shape[1])]
            images = np.pad(images, more)
        given = {self.interface.image: np.ascontiguousarray(images)}
        outputs = {
            name: self.store.get(array) for name, array in self.graphs.encoder(given).items()
        }
        memories = compact_memories(self.interface, outputs)
        for memory in memories:
            self._check(**{name: size for name, size in memory.sizes.items() if name != "batch"})
        return [
            replace(
                memory,
                arrays={name: self.store.put(array) for name, array in memory.arrays.items()},
                shape=shape,
                padded=padded,
            )
            for memory in memories
        ]

    def start(self, memory: GraphMemory, beams: int) -> GraphState:
        """The state before the first token: zeros, for `beams` hypotheses.

        Raises:
            InputError: more of them than the graphs were made for.
        """
        self._check(beams=beams)
        sizes = {**memory.sizes, "beams": beams, "length": min(FIRST_LENGTH, self.max_length)}
        specs = [self.interface.step[each.input] for each in self.interface.state]
        return GraphState(
            {
                spec.name: self.store.zeros(
                    [sizes[size] if isinstance(size, str) else size for size in spec.shape],
                    spec.dtype,
                )
                for spec in specs
            },
            0,
            memory,
        )

    def step(
        self, tokens: NDArray[np.int64], memory: GraphMemory, state: GraphState
    ) -> tuple[NDArray[np.float32], GraphState]:
        """tokens int64 `[beams]` -> log-probabilities float32 `[beams, vocabulary]` and the next
        state.

        Raises:
            InputError: the state's cache is full.
        """
        outputs = self.graphs.step(
            {
                self.interface.tokens: tokens,
                self.interface.position: np.array([state.position]),
                **memory.arrays,
                **self._with_room(state),
            }
        )
        following = {each.input: outputs[each.output] for each in self.interface.state}
        log_probs = self.store.get(outputs[self.interface.log_probs])
        log_probs = log_probs.astype(np.float32, copy=False)
        return log_probs, GraphState(following, state.position + 1, memory)

    def reorder(self, state: GraphState, order: NDArray[np.int64]) -> GraphState:
        """The state whose beam i is beam `order[i]` of `state`; nothing is copied for 0, 1, 2, …

        Raises:
            InputError: more of them than the graphs were made for.
        """
        self._check(beams=len(order))
        specs = {name: self.interface.step[name].shape.index("beams") for name in state.arrays}
        beams = next((state.arrays[name].shape[axis] for name, axis in specs.items()), len(order))
        if len(order) == beams and np.array_equal(order, np.arange(beams)):
            return state
        return GraphState(
            {
                name: self.store.take(array, order, specs[name])
                for name, array in state.arrays.items()
            },
            state.position,
            state.memory,
        )

    def coverage(self, state: GraphState) -> NDArray[np.float32]:
        """The sum of the attention in all steps up to `state`, of its first beam.

        Returns:
            float32 `[layers, heads, cells]`, all cells of the image, row by row, masked with 0.

        Raises:
            BundleError: the decoder keeps no coverage.
        """
        memory = state.memory
        found = np.concatenate(
            [
                on_all_cells(
                    self.store.get(state.arrays[name]), self.interface.step[name], memory.kept
                )
                for name in coverage_states(self.interface)
            ]
        )
        if memory.padded == memory.shape:
            return found
        # without the cells of the paper that was added
        grid = on_grid(found, *memory.padded)
        cell = memory.padded[0] // grid.shape[2]
        grid = grid[..., : memory.shape[0] // cell, : memory.shape[1] // cell]
        return np.ascontiguousarray(grid.reshape(*found.shape[:2], -1))

    def _padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The smallest size that the encoder takes and that holds an image.

        Raises:
            InputError: there is none.
        """
        if not self.image_sizes:
            return height, width
        for size in self.image_sizes:
            if size[0] >= height and size[1] >= width:
                return size
        highest, widest = (max(sides) for sides in zip(*self.image_sizes, strict=True))
        raise InputError(
            f"expected an image of at most {widest} x {highest} pixels at the recognizer's scale, "
            f"for which this variant was exported, found {width} x {height}; cut the formula, or "
            "use another runtime"
        )

    def _check(self, **sizes: int) -> None:
        for name, size in sizes.items():
            most = self.limits.get(name, size)
            if size > most:
                raise InputError(
                    f"{name}: expected at most {most}, for which this variant was exported, found "
                    f"{size}; give less, or use another runtime"
                )

    def _with_room(self, state: GraphState) -> Arrays:
        """The state's arrays, with caches twice as long where they are full."""
        if state.position >= self.max_length:
            raise InputError(
                f"expected at most {self.max_length} tokens, as the decoder counts, found more; "
                "decode with a smaller max_length"
            )
        arrays = dict(state.arrays)
        for each in self.interface.state:
            axis = each.length_axis
            if axis is None or self.interface.step[each.input].shape[axis] != "length":
                continue
            array = arrays[each.input]
            length = array.shape[axis]
            if state.position >= length:
                longer = min(2 * length, self.max_length)
                arrays[each.input] = self.store.grow(array, axis, longer)
        return arrays


def states_of_nodes(interface: Interface) -> list[tuple[StateSpec, int]]:
    """The tensors of a state, and the axis "nodes" of each where a tree tells them."""
    assert interface.tree is not None
    axes = {spec.name: spec.shape.index("nodes") for spec in interface.tree.outputs}
    return [(state, axes[state.output]) for state in interface.state]


def longest(manifest: Manifest) -> int:
    """The steps that a search may make: what the manifest says, or less where a cache is fixed."""
    interface = manifest.interface
    lengths = [
        interface.step[each.input].shape[each.length_axis]
        for each in interface.state
        if each.length_axis is not None
    ]
    fixed = [length for length in lengths if isinstance(length, int)]
    return min([manifest.decoding.max_length, *fixed])
