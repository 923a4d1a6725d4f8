"""Proof that a bundle's graphs compute what torch computes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from ..core.bundle import Bundle
from ..core.errors import ExportError, RuntimeUnavailable
from ..core.manifest import Variant
from ..core.recognizer import prepare_image, read_plainly
from ..core.step_model import StepModel
from ..core.vocabulary import Vocabulary
from ..runtimes.executorch_runtime import executorch_graphs
from ..runtimes.graph_model import Arrays, Graph, GraphModel, Graphs
from ..runtimes.openvino_runtime import openvino_graphs
from ..runtimes.tensorrt_runtime import tensorrt_model
from ..training.checkpoint import Checkpoint
from ..training.inkset import Expression
from ..training.recognizer import STRIDE
from .graphs import EncoderGraph, StepGraph, read_greedily
from .mil_interpreter import MilProgram


@dataclass(frozen=True)
class Tolerance:
    """What is accepted of a precision.

    Attributes:
        max_abs: greatest difference in any output; None where any finite one will do.
        agreement: least share of whole decoded sequences that are equal.
    """

    max_abs: float | None
    agreement: float


TOLERANCES = {
    "fp32": Tolerance(2e-3, 0.99),
    "fp16": Tolerance(0.5, 0.95),
    "int8": Tolerance(None, 0.85),
    "int8-nncf": Tolerance(None, 0.85),
    "int8-arm": Tolerance(None, 0.85),
    "dynamic8": Tolerance(None, 0.85),
    "weights8": Tolerance(None, 0.85),
    "palette6": Tolerance(None, 0.85),
    "weights4": Tolerance(None, 0.5),
    "palette4": Tolerance(None, 0.5),
}


@dataclass(frozen=True)
class TensorError:
    """How far one output is from its reference, over all that was compared."""

    name: str
    max_abs: float
    mean_abs: float


@dataclass(frozen=True)
class Agreement:
    """How far formulas were decoded alike.

    Attributes:
        sequences, equal: formulas decoded by both, and how many came out equal.
        tokens, forced: tokens of the references, and how many the variant too thinks likeliest
            after the reference's tokens before them (teacher forcing).
        prefix: the tokens, of all references, before the first that the variant wrote otherwise.
    """

    sequences: int = 0
    equal: int = 0
    tokens: int = 0
    forced: int = 0
    prefix: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @classmethod
    def of(
        cls, written: Sequence[int], reference: Sequence[int], forced: Sequence[int]
    ) -> Agreement:
        """That of one formula.

        Args:
            written: what the variant wrote, without its end.
            reference: what torch wrote, likewise.
            forced: what the variant thought likeliest after each of torch's tokens but the last,
                and after `<sos>`.
        """
        prefix = 0
        for mine, other in zip(written, reference, strict=False):
            if mine != other:
                break
            prefix += 1
        alike = sum(a == b for a, b in zip(forced, reference, strict=True))
        return cls(1, int(list(written) == list(reference)), len(reference), alike, prefix)


@dataclass(frozen=True)
class ParityReport:
    """The proof for one variant.

    Attributes:
        variant: its target and precision, and what ran it where that is not its own runtime.
        reference: what it was compared with.
        tensors: an entry for each output of both graphs.
        agreement: of the formulas that both decoded.
    """

    variant: str
    reference: str
    tensors: tuple[TensorError, ...]
    agreement: Agreement
    tolerance: Tolerance

    @property
    def passed(self) -> bool:
        limit = sys.float_info.max if self.tolerance.max_abs is None else self.tolerance.max_abs
        close = all(each.max_abs <= limit for each in self.tensors)  # which NaN is not
        agreed = self.agreement.equal >= self.tolerance.agreement * self.agreement.sequences
        return close and agreed

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        tolerance, found = self.tolerance, self.agreement
        limit = "finite" if tolerance.max_abs is None else f"at most {tolerance.max_abs:g}"
        lines = [f"{self.variant}, against {self.reference}:"]
        lines += [
            f"  {each.name:<18} max {each.max_abs:.1e}  mean {each.mean_abs:.1e}  ({limit})"
            for each in self.tensors
        ]
        if found.sequences:
            tokens = max(found.tokens, 1)
            lines.append(
                f"  {found.equal} of {found.sequences} sequences equal (at least "
                f"{100 * tolerance.agreement:g} %); {100 * found.prefix / tokens:.1f} % of the "
                f"tokens before the first difference, {100 * found.forced / tokens:.1f} % equal "
                "after the right ones"
            )
        lines.append(f"  {'passed' if self.passed else 'FAILED'}")
        return "\n".join(lines)


def told(bundle: Bundle, variant: Variant) -> str:
    """What a variant is called in a report, with what runs it where that is not its runtime."""
    name = f"{variant.target} {variant.precision}"
    if variant.target == "tensorrt" and _tensorrt(bundle, variant) is None:
        name += ", its ONNX graphs run by ONNX Runtime"
    if variant.target in ("coreml", "coreml18"):
        name += ", its programs run operation by operation"
    return name


def graphs_of(bundle: Bundle, variant: Variant) -> Graphs:
    """The two graphs of a variant on its runtime, on one thread, with plain arrays in and out.

    Those for TensorRT are run by ONNX Runtime where there is no TensorRT or no GPU: that proves
    the graphs, up to rounding, and not the engines. Programs of CoreML are run by an interpreter
    of ours, on a Mac too.

    Raises:
        ExportError: it is for a runtime of another project.
    """
    if variant.target not in _GRAPHS:
        raise ExportError(
            f"{bundle.path}: expected a variant for {', '.join(_GRAPHS)} to prove, found one for "
            f"{variant.target}; name the others with --runtime"
        )
    return _GRAPHS[variant.target](bundle, variant)


def _onnx_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    """ONNX Runtime knows its own format from ONNX."""
    return Graphs(_onnx_graph(bundle.read(variant.encoder)), _onnx_graph(bundle.read(variant.step)))


def _onnx_graph(data: bytes) -> Graph:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def model_of(bundle: Bundle, variant: Variant) -> StepModel[Any, Any]:
    """A variant on its own adapter, or, where that cannot run here, its graphs as `graphs_of`
    runs them; on one thread.

    Raises:
        ExportError: nothing here can run it.
    """
    from ..runtimes import choose

    try:
        return choose(bundle, variant.target, variant.precision, threads=1)[1]
    except RuntimeUnavailable:
        return _model_of(bundle, variant, graphs_of(bundle, variant))


def compare_with_torch(
    bundle: Bundle,
    variant: Variant,
    checkpoint: Checkpoint,
    ink: Sequence[Expression] = (),
    shapes: int = 6,
    steps: int = 5,
    seed: int = 0,
) -> ParityReport:
    """Random batches, sizes, beams and tokens through both; then real ink, whole sequences.

    Args:
        ink: formulas to decode greedily with torch and with the bundle, both without grammar.
        shapes: random sizes to try.
        steps: decoder steps on each.
    """
    network = checkpoint.trained_network()
    encoder, step = EncoderGraph(network), StepGraph(network)
    graphs = graphs_of(bundle, variant)
    rng = np.random.default_rng(seed)
    errors = _Errors()
    for number in range(shapes):
        batch = min(1 + number % 3, variant.limits.get("batch", 3))
        beams = min(1 + 2 * (number % 3), variant.limits.get("beams", 5))
        height, width = (STRIDE * int(rng.integers(2, high)) for high in (8, 30))
        images = _scribble(rng, batch, height, width)
        with torch.inference_mode():
            reference = [part.numpy() for part in encoder(torch.from_numpy(images))]
        found = graphs.encoder({"images": images})
        errors.add_all(found, reference)
        memory = {name: array[:1] for name, array in found.items()}
        _compare_steps(bundle, graphs, step, memory, beams, steps, rng, errors)
    return ParityReport(
        told(bundle, variant),
        f"torch, {shapes} random shapes and {len(ink)} formulas",
        errors.summary(),
        _agreement(bundle, variant, encoder, step, ink),
        TOLERANCES[variant.precision],
    )


def compare_with_golden(bundle: Bundle, variant: Variant) -> ParityReport:
    """The golden arrays in the bundle against what its graphs compute here: needs no torch
    weights, and tells whether this machine computes what the exporting one did."""
    golden = bundle.golden()
    graphs = graphs_of(bundle, variant)
    errors = _Errors()
    memory = graphs.encoder({"images": golden["encoder.images"]})
    for name, array in memory.items():
        errors.add(name, array, golden[f"encoder.{name}"])
    state = _initial_state(bundle, memory, 1, bundle.manifest.decoding.max_length)
    vocabulary = bundle.manifest.vocabulary
    wanted = golden["greedy"].tolist()
    token, written = vocabulary.sos, list[int]()
    for position in range(bundle.manifest.decoding.max_length):
        out = graphs.step(
            {
                "tokens": np.array([token]),
                "position": np.array([position]),
                **memory,
                **state,
            },
        )
        if f"step.{position}.log_probs" in golden and token == golden[f"step.{position}.tokens"]:
            errors.add("log_probs", out["log_probs"], golden[f"step.{position}.log_probs"])
        state = {each.input: out[each.output] for each in bundle.manifest.interface.state}
        token = int(out["log_probs"].argmax())
        if token == vocabulary.eos:
            break
        written.append(token)
    model = _model_of(bundle, variant, graphs)
    forced = _forced(model, golden["encoder.images"], wanted, vocabulary)
    return ParityReport(
        told(bundle, variant),
        "the golden arrays",
        errors.summary(),
        Agreement.of(written, wanted, forced),
        TOLERANCES[variant.precision],
    )


def _tensorrt(bundle: Bundle, variant: Variant) -> GraphModel | None:
    try:
        return tensorrt_model(bundle, variant)
    except RuntimeUnavailable:
        return None


def _tensorrt_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    model = _tensorrt(bundle, variant)
    if model is None:
        return _onnx_graphs(bundle, variant)
    store = model.store

    def on_host(graph: Graph) -> Graph:
        return lambda inputs: {name: store.get(each) for name, each in graph(inputs).items()}

    return Graphs(on_host(model.graphs.encoder), on_host(model.graphs.step))


def _coreml_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    return Graphs(*(MilProgram(bundle.path / name) for name in (variant.encoder, variant.step)))


def _keeping_coreml_graphs(bundle: Bundle, variant: Variant) -> Graphs:
    """Caches go in and out of the step as they do elsewhere, so that it can be compared."""
    program = MilProgram(bundle.path / variant.step)
    fields = [
        each for each in bundle.manifest.interface.state if each.input in program.make_state()
    ]

    def step(inputs: Mapping[str, Any]) -> Arrays:
        state = program.make_state()
        parts = {}
        for each in fields:
            parts[each] = tuple(map(slice, inputs[each.input].shape))  # it has room for more
            state[each.input][parts[each]] = inputs[each.input]
        found: Arrays = dict(program(inputs, state))
        kept = {
            each.output: state[each.input][part].astype(np.float32) for each, part in parts.items()
        }
        names = [each.name for each in bundle.manifest.interface.step.outputs]
        return {name: {**found, **kept}[name] for name in names}

    return Graphs(MilProgram(bundle.path / variant.encoder), step)


_GRAPHS: dict[str, Callable[[Bundle, Variant], Graphs]] = {
    "onnxruntime": _onnx_graphs,
    "ort": _onnx_graphs,
    "openvino": partial(openvino_graphs, threads=1),
    "executorch": partial(executorch_graphs, threads=1),
    "tensorrt": _tensorrt_graphs,
    "coreml": _coreml_graphs,
    "coreml18": _keeping_coreml_graphs,
}


class _Errors:
    """Differences by name of the output."""

    def __init__(self) -> None:
        self._found: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, name: str, found: NDArray[Any], reference: NDArray[Any]) -> None:
        if found.shape == reference.shape:
            difference = np.abs(found.astype(np.float64) - reference.astype(np.float64)).ravel()
        else:
            difference = np.array([np.inf])
        self._found.setdefault(name, []).append(difference)

    def add_all(self, found: Arrays, reference: Sequence[NDArray[Any]]) -> None:
        for (name, array), other in zip(found.items(), reference, strict=True):
            self.add(name, array, other)

    def summary(self) -> tuple[TensorError, ...]:
        return tuple(
            TensorError(
                name,
                float(np.concatenate(parts).max()),  # NaN where there is one, unlike `max`
                float(np.concatenate(parts).mean()),
            )
            for name, parts in self._found.items()
        )


def _compare_steps(
    bundle: Bundle,
    graphs: Graphs,
    step: StepGraph,
    memory: Arrays,
    beams: int,
    steps: int,
    rng: np.random.Generator,
    errors: _Errors,
) -> None:
    """Both from the same memory and state; the state goes on from the graph's own."""
    longest = bundle.manifest.decoding.max_length
    steps = min(steps, longest)
    state = _initial_state(bundle, memory, beams, int(rng.integers(steps, longest + 1)))
    for position in range(steps):
        inputs = {
            "tokens": rng.integers(1, len(bundle.manifest.vocabulary), beams),
            "position": np.array([position]),
            **memory,
            **state,
        }
        with torch.inference_mode():
            tensors = [torch.from_numpy(array) for array in inputs.values()]
            reference = [part.numpy() for part in step(*tensors)]
        found = graphs.step(inputs)
        errors.add_all(found, reference)
        state = {each.input: found[each.output] for each in bundle.manifest.interface.state}


def _initial_state(bundle: Bundle, memory: Arrays, beams: int, length: int) -> Arrays:
    """Zeros, for the cells that the memory has, with room for `length` steps."""
    interface = bundle.manifest.interface
    sizes = {"beams": beams, "length": length}
    for spec in interface.memory:
        shape = memory[spec.name].shape
        sizes |= {
            axis: size
            for axis, size in zip(spec.shape, shape, strict=True)
            if isinstance(axis, str) and axis != "batch"
        }
    return {
        each.input: np.zeros(
            [sizes[size] if isinstance(size, str) else size for size in shape], np.float32
        )
        for each in interface.state
        for shape in [interface.step[each.input].shape]
    }


def _scribble(rng: np.random.Generator, batch: int, height: int, width: int) -> NDArray[np.float32]:
    """Something like ink: a few random lines on blank paper."""
    images = np.zeros((batch, 1, height, width), np.float32)
    for image in images[:, 0]:
        for _ in range(4):
            row, column = rng.integers(0, height), rng.integers(0, width)
            image[row, column : column + 20] = rng.uniform(0.4, 1)
            image[row : row + 12, column] = 1.0
    return images


def _agreement(
    bundle: Bundle,
    variant: Variant,
    encoder: EncoderGraph,
    step: StepGraph,
    ink: Sequence[Expression],
) -> Agreement:
    """Formulas decoded greedily and without grammar, by torch and by the variant's own adapter."""
    if not ink:
        return Agreement()
    model = model_of(bundle, variant)
    vocabulary = bundle.manifest.vocabulary
    found = Agreement()
    for expression in ink:
        image = prepare_image(expression.source, bundle.manifest.preprocessing)
        reference = read_greedily(encoder, step, torch.from_numpy(image), vocabulary)
        written = read_plainly(model, bundle.manifest, image)
        forced = _forced(model, image, reference.tokens, vocabulary)
        found += Agreement.of(written.tokens, reference.tokens, forced)
    return found


def _model_of(bundle: Bundle, variant: Variant, graphs: Graphs) -> GraphModel:
    return GraphModel(bundle.manifest, graphs, variant.limits, image_sizes=variant.image_sizes)


def _forced(
    model: StepModel[Any, Any],
    image: NDArray[np.float32],
    tokens: Sequence[int],
    vocabulary: Vocabulary,
) -> list[int]:
    """What a model thinks likeliest at each of some tokens, given those before."""
    [memory] = model.encode(image)
    state = model.start(memory, 1)
    found = []
    for token in [vocabulary.sos, *tokens[:-1]][: len(tokens)]:
        log_probs, state = model.step(np.array([token]), memory, state)
        found.append(int(log_probs.argmax()))
    return found
