"""What the operators of a graph compute, move and take, by ONNX Runtime's own profile."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from ...core.bundle import Bundle
from ...core.manifest import Variant
from ...core.recognizer import Recognizer
from ...runtimes.graph_model import Graph, GraphModel, Graphs
from ...runtimes.onnx_session import session_options
from ..formulas import Formula
from .stages import StagedReader

TARGETS = ("onnxruntime", "ort")
"""The runtimes whose graphs can be taken apart."""
_GRAPH_STAGES = ("encode", "step")

_CONVOLUTIONS = {
    "Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3,
}  # fmt: skip
"""By name, which of their inputs the weights are."""
_PRODUCTS = frozenset((
    "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "QLinearMatMul", "MatMulInteger",
    "MatMulIntegerToFloat", "MatMulNBits", "DynamicQuantizeMatMul", "QGemm",
))  # fmt: skip
_INTEGER = frozenset((
    "ConvInteger", "QLinearConv", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "QGemm",
))  # fmt: skip
_VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Shape"))
_LOOKUPS = frozenset(("Gather", "GatherND", "GatherElements"))
_SUFFIX = "_kernel_time"
_TURNS = 3


@dataclass
class Work:
    """What operators did.

    Attributes:
        calls: of them.
        us: microseconds in them.
        operations: of products and convolutions, two for each multiply-add, by "fp32" or "int8".
        bytes: that they read and wrote, weights included, from wherever they lay.
    """

    calls: int = 0
    us: float = 0.0
    operations: dict[str, int] = field(default_factory=lambda: {"fp32": 0, "int8": 0})
    bytes: int = 0

    def count(self, event: Mapping[str, Any]) -> None:
        """Add what an event of a profile computes and moves."""
        name, arguments = event["args"]["op_name"], event["args"]
        precision = "int8" if name in _INTEGER else "fp32"
        self.operations[precision] += operations_of(name, arguments)
        self.bytes += bytes_of(name, arguments)

    def time(self, durations_us: Sequence[float]) -> None:
        """Add what all calls of one node took: as many times their median, so that a call during
        which the processor was elsewhere does not tell."""
        self.calls += len(durations_us)
        self.us += len(durations_us) * median(durations_us)


@dataclass(frozen=True)
class GraphWork:
    """One of the two graphs, while some formulas were read greedily.

    Attributes:
        ms: milliseconds in the graph as it usually runs, without a profile being taken.
        operators: by name, what the profile says of them.
    """

    stage: str
    formulas: int
    ms: float
    operators: dict[str, Work]


def profile_graphs(
    bundle: Bundle, variant: Variant, threads: int, formulas: Sequence[Formula]
) -> list[GraphWork]:
    """Read formulas with both graphs of a variant of ONNX Runtime in three ways: as usual, with a
    profile, and with a profile that knows the shape of every weight, from which is counted.

    (Weights that were packed for the processor are gone from a profile; a session that packs none
    is slower and computes the same.)
    """
    plain = _Sessions(bundle, variant, threads)
    reader = StagedReader(plain.recognizer, beams=1)
    with tempfile.TemporaryDirectory(prefix="inktex-") as place:
        timed = _Sessions(bundle, variant, threads, Path(place) / "timed")
        counted = _Sessions(bundle, variant, threads, Path(place) / "counted", packed=False)
        for formula in formulas[:2]:  # warms up
            reader(formula)
        spent = dict.fromkeys(_GRAPH_STAGES, 0.0)
        for formula in formulas:
            readings = [reader(formula) for _ in range(_TURNS)]
            for stage in _GRAPH_STAGES:
                spent[stage] += median(each.stages_ms[stage] for each in readings)
            for each in (timed, counted):
                each.recognizer(formula.source, beam=1, name=formula.name)
        timed_events, counted_events = timed.events(), counted.events()
    found = []
    for stage in _GRAPH_STAGES:
        operators: dict[str, Work] = defaultdict(Work)
        nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in timed_events[stage]:
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"])
        for (name, _), durations_us in nodes.items():
            operators[name].time(durations_us)
        for event in counted_events[stage]:
            operators[event["args"]["op_name"]].count(event)
        found.append(GraphWork(stage, len(formulas), spent[stage], dict(operators)))
    return found


def operations_of(name: str, arguments: Mapping[str, Any]) -> int:
    """Of an operator, from the shapes in a profile; 0 of all that is no product."""
    outputs = _shapes(arguments["output_type_shape"])
    inputs = _shapes(arguments["input_type_shape"])
    if name in _CONVOLUTIONS and len(inputs) > _CONVOLUTIONS[name]:
        return 2 * prod(outputs[0]) * prod(inputs[_CONVOLUTIONS[name]][1:])
    if name == "ConvTranspose":
        return 2 * prod(inputs[0]) * prod(inputs[1][1:])
    if name in _PRODUCTS:
        left, right = inputs[:2]
        # of two matrices, however they are turned, the side that the result has not
        flat = min(len(left), len(right)) < 2
        inner = left[-1] if flat else prod(left[-2:]) // outputs[0][-2]
        return 2 * prod(outputs[0]) * inner
    return 0


def bytes_of(name: str, arguments: Mapping[str, Any]) -> int:
    """That an operator reads and writes; of a table only what is looked up, of a view nothing."""
    written = int(arguments["output_size"])
    if name in _VIEWS:
        return 0
    if name in _LOOKUPS:
        return 2 * written
    return int(arguments["activation_size"]) + int(arguments["parameter_size"]) + written


def _shapes(entries: Sequence[Mapping[str, list[int]]]) -> list[list[int]]:
    return [shape for entry in entries for shape in entry.values()]


class _Sessions:
    """Both graphs of a variant in sessions of their own, behind a recognizer."""

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        threads: int,
        prefix: Path | None = None,
        packed: bool = True,
    ) -> None:
        import onnxruntime

        self._sessions = {}
        for stage, name in zip(_GRAPH_STAGES, (variant.encoder, variant.step), strict=True):
            options = session_options(threads if stage == "encode" else 1)
            if not packed:
                options.add_session_config_entry("session.disable_prepacking", "1")
                # nor with channels that only fill up the blocks of the last level's layout
                level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
                options.graph_optimization_level = level
            if prefix is not None:
                options.enable_profiling = True
                options.profile_file_prefix = f"{prefix}-{stage}"
            self._sessions[stage] = onnxruntime.InferenceSession(
                bundle.read(name), options, providers=["CPUExecutionProvider"]
            )
        graphs = Graphs(*(_graph(session) for session in self._sessions.values()))
        self.recognizer = Recognizer(GraphModel(bundle.manifest, graphs), bundle.manifest)

    def events(self) -> dict[str, list[dict[str, Any]]]:
        """Of the operators, by stage; ends the profile."""
        found = {}
        for stage, session in self._sessions.items():
            path = Path(session.end_profiling())
            events = json.loads(path.read_text())
            found[stage] = [
                event
                for event in events
                if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)
            ]
        return found


def _graph(session: Any) -> Graph:
    outputs = [each.name for each in session.get_outputs()]
    inputs = {each.name for each in session.get_inputs()}
    run: Callable[..., list[Any]] = session.run

    def graph(given: Mapping[str, Any]) -> dict[str, Any]:
        fed = {name: array for name, array in given.items() if name in inputs}
        return dict(zip(outputs, run(outputs, fed), strict=True))

    return graph
