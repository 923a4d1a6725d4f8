"""What goes in and out of a bundle's graphs, and the part that each tensor plays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from .fields import Fields

ALL_CELLS = "all_cells"
TREE_TOKENS, TREE_POSITIONS, TREE_ANCESTORS = "tokens", "positions", "ancestors"
_GRID_AXES = ("cells", ALL_CELLS, "rows", "columns")
DYNAMIC_AXES = ("batch", "height", "width", *_GRID_AXES, "beams", "length", "nodes")
"""The names an axis of unknown size may have in a `TensorSpec`."""

DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: as it stands in the graph.
        dtype: numpy's name, one of `DTYPES`.
        shape: a number for a fixed axis, a name out of `DYNAMIC_AXES` for a dynamic one.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def axis(self, name: str) -> int | None:
        """Which axis is the dynamic axis `name`, None when there is no such axis."""
        return self.shape.index(name) if name in self.shape else None


@dataclass(frozen=True)
class GraphSpec:
    """The inputs and outputs of one graph, in the order of the graph."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __getitem__(self, name: str) -> TensorSpec:
        """The input or output called `name`; raises KeyError when there is none."""
        return self._named[name]

    @cached_property
    def _named(self) -> dict[str, TensorSpec]:
        return {tensor.name: tensor for tensor in (*self.outputs, *self.inputs)}


@dataclass(frozen=True)
class StateSpec:
    """One tensor of the decoder's state: zeros at the start, then each step's output.

    Attributes:
        input: the step's input that takes it.
        output: the step's output that holds its next value; same dtype and shape.
        length_axis: the axis indexed by position, when there is one. Such a tensor is a cache:
            the graph never reads an entry at or after `position` before it has written it, so
            whoever reorders beams may leave those entries alone.
        in_place: whether the output may be written where the input lies, which spares a runtime
            a copy: the graph reads the input only to make the output of it.
    """

    input: str
    output: str
    length_axis: int | None = None
    in_place: bool = False


@dataclass(frozen=True)
class Interface:
    """The graphs and the part that each tensor plays.

    The memory of an image is all of the encoder's outputs; the step takes inputs of the same
    names. A cell of the memory is one position of the feature map; the step depends neither on
    the number of cells nor on their order, so cells that `memory_bias` masks may be left out: by
    whoever runs the graphs, or by the encoder. An encoder that does so gives a bias of all cells,
    whose axis is then `ALL_CELLS`, and the rest of those that an image of the batch leaves
    unmasked (of all where there is none); that bias is to be cut down for the step.

    A third graph there may be reads what is written already, all at once: a tree of tokens, whose
    every path from the root is the beginning of a formula (tree attention; Miao et al., 2024,
    arXiv:2305.09781). It gives at every node what steps along its path would give, and what a
    state after that node is made of.

    Attributes:
        image: encoder input, float32 `[batch, channels, height, width]`, ink = 1, paper = 0; behind
            this channel, if there are more, the trail of the pen (`core/trail.py`).
        tokens: step input, int64 `[beams]`, the token last written.
        position: step input, int64 `[1]`, 0 when that token is `<sos>`.
        log_probs: step output, float32 `[beams, vocabulary]`.
        memory_bias: encoder output, 0 where a cell may be attended, -1e4 elsewhere; "" when
            no cell may be left out.
        tree: the third graph, None where there is none. Its inputs are the memory and, with names
            of their own, `TREE_TOKENS` int64 `[nodes]`, `TREE_POSITIONS` int64 `[nodes]` (0 for
            roots), and `TREE_ANCESTORS` float32 `[nodes, nodes]`, 1 where the column is on the
            path to the row, itself included. Its outputs are those of the step for one beam, with
            an axis "nodes": of `log_probs` the first; in a cache in place of the length, what each
            node writes there; in the rest of the state in place of the beams, what each adds.
    """

    encoder: GraphSpec
    step: GraphSpec
    state: tuple[StateSpec, ...]
    image: str = "images"
    tokens: str = "tokens"
    position: str = "position"
    log_probs: str = "log_probs"
    memory_bias: str = "memory_bias"
    tree: GraphSpec | None = None

    @property
    def channels(self) -> int:
        """Of the images."""
        _, channels, *_ = self.encoder[self.image].shape
        assert isinstance(channels, int)
        return channels

    @property
    def memory(self) -> tuple[TensorSpec, ...]:
        """The tensors that go from the encoder to every step."""
        return self.encoder.outputs


def interface_problems(interface: Interface) -> Iterator[str]:
    """Every contradiction in `interface`, each as a line of text."""
    graphs = {"encoder": interface.encoder, "step": interface.step}
    if interface.tree is not None:
        graphs["tree"] = interface.tree
    for name, graph in graphs.items():
        yield from _tensor_problems(f"interface.{name}.inputs", graph.inputs)
        yield from _tensor_problems(f"interface.{name}.outputs", graph.outputs)
    yield from _role_problems(interface)
    for number, state in enumerate(interface.state):
        yield from _state_problems(f"interface.state[{number}]", state, interface.step)
    memory = _names(interface.memory)
    states = {each.input for each in interface.state}
    written = {interface.tokens, interface.position}
    yield from _feeding_problems("step", interface.step, memory | states | written)
    if interface.tree is not None:
        written = {TREE_TOKENS, TREE_POSITIONS, TREE_ANCESTORS}
        yield from _feeding_problems("tree", interface.tree, memory | written)
        yield from _tree_problems(interface, interface.tree)


def _names(specs: Iterable[TensorSpec]) -> set[str]:
    return {each.name for each in specs}


def _tensor_problems(where: str, specs: Sequence[TensorSpec]) -> Iterator[str]:
    """Of the inputs or the outputs of a graph by themselves."""
    if len(_names(specs)) != len(specs):
        yield f"{where}: a name appears more than once"
    for spec in specs:
        if spec.dtype not in DTYPES:
            yield f"{where}.{spec.name}: unknown dtype {spec.dtype!r}, not in {DTYPES}"
        for size in spec.shape:
            if size not in DYNAMIC_AXES if isinstance(size, str) else size < 1:
                yield f"{where}.{spec.name}: axis {size!r} is not > 0 nor in {DYNAMIC_AXES}"


def _role_problems(interface: Interface) -> Iterator[str]:
    """Of the names that play a part."""
    encoder, step = interface.encoder, interface.step
    for role, place, specs in (
        ("image", "encoder.inputs", encoder.inputs),
        ("tokens", "step.inputs", step.inputs),
        ("position", "step.inputs", step.inputs),
        ("log_probs", "step.outputs", step.outputs),
        ("memory_bias", "encoder.outputs", encoder.outputs),
    ):
        name, known = getattr(interface, role), _names(specs)
        if name not in known and not (role == "memory_bias" and name == ""):
            yield f"interface.{role}: {name!r} is not among {place} {sorted(known)}"
    if not interface.memory_bias and any(ALL_CELLS in spec.shape for spec in encoder.outputs):
        yield (
            f"interface.memory_bias: expected the encoder's output with the axis {ALL_CELLS!r}, "
            "which tells the cells that it leaves out, found none"
        )
    for spec in encoder.inputs:
        if spec.name == interface.image and (
            len(spec.shape) != 4 or not isinstance(spec.shape[1], int)
        ):
            yield (
                f"interface.image: expected axes batch, a number of channels, height and width, "
                f"found {spec.shape}"
            )


def _state_problems(where: str, state: StateSpec, step: GraphSpec) -> Iterator[str]:
    """Of one tensor of the state."""
    source = next((each for each in step.inputs if each.name == state.input), None)
    target = next((each for each in step.outputs if each.name == state.output), None)
    if source is None or target is None:
        yield f"{where}: {state.input} -> {state.output} is not a step input and a step output"
        return
    if (source.dtype, source.shape) != (target.dtype, target.shape):
        yield f"{where}: {state.input} and {state.output} differ in dtype or shape"
    dynamic = {size for size in source.shape if isinstance(size, str)}
    of_memory = {"cells", "rows", "columns"}
    if "beams" not in dynamic or not dynamic <= {"beams", "length", *of_memory}:
        yield (
            f"{where}: expected an axis 'beams', else fixed, 'length' or axes of the memory, "
            f"found {source.shape}"
        )
    if state.length_axis is not None and not (
        0 <= state.length_axis < len(source.shape)
        and (isinstance(size := source.shape[state.length_axis], int) or size == "length")
    ):
        yield f"{where}.length_axis: {state.length_axis} is no axis of a length: {source.shape}"


def _feeding_problems(name: str, graph: GraphSpec, fed: set[str]) -> Iterator[str]:
    """Of a graph that is given exactly the inputs `fed`."""
    for each in sorted(_names(graph.inputs) ^ fed):
        yield f"interface.{name}.inputs: {each!r} is fed by nothing, or missing"


def _tree_problems(interface: Interface, tree: GraphSpec) -> Iterator[str]:
    """Of what a graph for trees gives."""
    wanted = [interface.log_probs, *(each.output for each in interface.state)]
    names = [each.name for each in tree.outputs]
    if names != wanted or any(each.axis("nodes") is None for each in tree.outputs):
        yield (
            f"interface.tree.outputs: expected {wanted}, each with an axis 'nodes', found "
            f"{[(each.name, each.shape) for each in tree.outputs]}"
        )


def _read_tensor(fields: Fields) -> TensorSpec:
    shape = fields.items("shape", (int, str), "a whole number or an axis name")
    return TensorSpec(
        fields.text("name"), fields.text("dtype"), cast("tuple[int | str, ...]", tuple(shape))
    )


def _read_graph(fields: Fields) -> GraphSpec:
    return GraphSpec(
        tuple(_read_tensor(each) for each in fields.objects("inputs")),
        tuple(_read_tensor(each) for each in fields.objects("outputs")),
    )


def _read_state(fields: Fields) -> StateSpec:
    axis = None if fields.is_null("length_axis") else fields.whole("length_axis")
    # bundles from before there was any do without
    in_place = "in_place" in fields.content and fields.flag("in_place")
    return StateSpec(fields.text("input"), fields.text("output"), axis, in_place)


def read_interface(fields: Fields) -> Interface:
    """The `interface` of a manifest; what is wrong with it is noted in `fields.problems`."""
    return Interface(
        encoder=_read_graph(fields.nested("encoder")),
        step=_read_graph(fields.nested("step")),
        state=tuple(_read_state(each) for each in fields.objects("state")),
        image=fields.text("image"),
        tokens=fields.text("tokens"),
        position=fields.text("position"),
        log_probs=fields.text("log_probs"),
        memory_bias=fields.text("memory_bias"),
        # bundles from before there was any, and recognizers without one, do without
        tree=_read_graph(fields.nested("tree")) if fields.content.get("tree") is not None else None,
    )
