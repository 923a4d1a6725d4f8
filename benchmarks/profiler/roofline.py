"""What the machine could do at best, and how much of it the two graphs reach.

The roofline model (Williams, Waterman and Patterson, 2009, doi:10.1145/1498765.1498785): work takes
at least as long as its products take at the machine's peak, and as long as its bytes take at the
peak of copying. Both peaks are measured here, in the same runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.bundle import Bundle
from ..formulas import Formula
from .contender import Configuration
from .operators import GraphWork, Work, profile_graphs

DATA = Path(__file__).parent.parent / "data"
"""Holds the graphs of the peaks: a product of `rows` x 512 and 512 x 512, and a copy."""
_SIDE = 512
_TURNS = 15
_COPIES = (1 << 18, 1 << 24)  # numbers of 4 bytes: 1 MB, which caches hold, and 67 MB
_TOP = 10


@dataclass(frozen=True)
class Peak:
    """The best that the machine did in a few tries.

    Attributes:
        threads: that it used.
        products: billions of operations a second in a product of 512 x 512 x 512, by "fp32" and
            "int8".
        copies: billions of bytes a second that a copy reads and writes, by megabytes copied.
    """

    threads: int
    products: dict[str, float]
    copies: dict[str, float]


@dataclass(frozen=True)
class Reached:
    """A graph under its roof; all numbers for each formula, mean.

    Attributes:
        stage: "encode", or "step" for all steps together.
        ms: what it takes.
        operations: millions, by "fp32" and "int8".
        megabytes: that its operators read and write.
        roof_ms: the least it could take, by the peaks; copies count as the quickest of them, which
            is that of a cache, since most of what operators exchange stays there.
        bound: "products" or "bytes", which of them the roof is.
    """

    label: str
    stage: str
    ms: float
    operations: dict[str, float]
    megabytes: float
    roof_ms: float
    bound: str

    @property
    def share(self) -> float:
        """Of the roof that is reached."""
        return self.roof_ms / self.ms


@dataclass(frozen=True)
class Operator:
    """A kind of operator in a graph, by the runtime's profile, for each formula.

    Attributes:
        share: of the time in all operators of the graph.
    """

    label: str
    stage: str
    name: str
    calls: float
    ms: float
    share: float


@dataclass(frozen=True)
class Roofline:
    """All of it: the peaks, what was reached, and the ten dearest operators of each graph."""

    peaks: list[Peak]
    reached: list[Reached]
    operators: list[Operator]


def measure_roofline(
    bundle: Bundle, configurations: Sequence[Configuration], formulas: Sequence[Formula]
) -> Roofline:
    """Of variants on ONNX Runtime's processor; what greedy search has them do."""
    peaks: dict[int, Peak] = {}
    reached: list[Reached] = []
    operators: list[Operator] = []
    for own in configurations:
        for threads in {own.threads, 1}:
            if threads not in peaks:
                peaks[threads] = measure_peak(threads)
        variant = bundle.variant(own.runtime, own.precision)
        for work in profile_graphs(bundle, variant, own.threads, formulas):
            peak = peaks[own.threads if work.stage == "encode" else 1]
            reached.append(under_roof(own.engine, work, peak))
            operators += dearest(own.engine, work)
    return Roofline(list(peaks.values()), reached, operators)


def under_roof(label: str, work: GraphWork, peak: Peak) -> Reached:
    """A graph's work against what it could take at best."""
    total = Work()
    for each in work.operators.values():
        total.bytes += each.bytes
        for precision, count in each.operations.items():
            total.operations[precision] += count
    products_ms = sum(
        count / peak.products[precision] / 1e6 for precision, count in total.operations.items()
    )
    bytes_ms = total.bytes / max(peak.copies.values()) / 1e6
    return Reached(
        label,
        work.stage,
        work.ms / work.formulas,
        {name: count / work.formulas / 1e6 for name, count in total.operations.items()},
        total.bytes / work.formulas / 1e6,
        max(products_ms, bytes_ms) / work.formulas,
        "products" if products_ms >= bytes_ms else "bytes",
    )


def dearest(label: str, work: GraphWork, count: int = _TOP) -> list[Operator]:
    """The kinds of operators that take most of the time."""
    everything = sum(each.us for each in work.operators.values())
    ordered = sorted(work.operators.items(), key=lambda item: -item[1].us)
    return [
        Operator(
            label,
            work.stage,
            name,
            each.calls / work.formulas,
            each.us / 1e3 / work.formulas,
            each.us / everything,
        )
        for name, each in ordered[:count]
    ]


def measure_peak(threads: int) -> Peak:
    """Products and copies in ONNX Runtime: the quickest of some turns each."""
    products = {}
    for precision, dtype, result in (
        ("fp32", np.float32, np.float32),
        ("int8", np.uint8, np.int32),
    ):
        left = np.ones((_SIDE, _SIDE), dtype)
        seconds = _quickest(f"product_{precision}", left, result, threads)
        products[precision] = 2 * _SIDE**3 / seconds / 1e9
    copies = {}
    for size in _COPIES:
        array = np.ones(size, np.float32)
        seconds = _quickest("copy", array, np.float32, threads)
        copies[f"{array.nbytes / 1e6:.0f}"] = 2 * array.nbytes / seconds / 1e9
    return Peak(threads, products, copies)


def _quickest(graph: str, given: NDArray[Any], result: Any, threads: int) -> float:
    """Seconds of the quickest of some runs, with all memory there before."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        (DATA / f"{graph}.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    binding = session.io_binding()
    binding.bind_ortvalue_input("a", value(given))
    binding.bind_ortvalue_output("c", value(np.zeros(given.shape, result)))
    seconds = []
    for _ in range(_TURNS):
        began = perf_counter()
        session.run_with_iobinding(binding)
        seconds.append(perf_counter() - began)
    return min(seconds)
