"""The table of quantisation: every form for every runtime, by every method, against float32."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.bundle import Bundle, write_bundle
from ..core.errors import BundleError, DataError, InktexError
from ..core.manifest import Variant
from ..core.paired import paired_drop
from ..runtimes import choose
from ..runtimes.graph_model import Graph, GraphModel, Graphs
from .formulas import Formula
from .memory import measure_memory
from .profiler.bundle_contender import BundleContender
from .profiler.contender import Configuration
from .profiler.measurement import ratio_of
from .profiler.single_stream import Effort, measure_streams
from .report import MB
from .tradeoff import unbeaten

if TYPE_CHECKING:
    from ..export.targets import Files
    from ..quantization.accuracy_control import Control
    from ..quantization.record import Record
    from ..quantization.source import QuantizationSource
    from ..quantization.trials import Trials
    from ..training.evaluation import Sample

VALIDATION = "validation"
FLOAT = "float32"
CONTROLLED = "controlled"
AWARE = "aware"
NNCF = "int8-nncf"
STATIC = ("int8", "int8-arm")
"""Precisions whose activations have ranges that a method finds."""
_ROW = "row "


@dataclass(frozen=True)
class Way:
    """One row to measure.

    Attributes:
        target, precision: as `quantizers.FORMS` knows them; the precision "fp32" is the bundle's.
        method: how ranges are found, "" where there are none.
        how: "" as it is, `CONTROLLED`, or `AWARE` (of the weights that were trained so).
    """

    target: str
    precision: str
    method: str = ""
    how: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.target, self.precision, self.method, self.how)))


@dataclass(frozen=True)
class Row:
    """What a way gave.

    Attributes:
        form: of the quantiser.
        size: bytes of both graphs.
        size_ratio: of float32's on the same runtime.
        sets: by name, `exact` (0..1) and the paired drop against float32, in points.
        encode, step, total: time for each time of float32 on the same runtime, formula by formula
            in turn: the median. None where the runtime cannot run here.
        peak_mb: the most memory of a process that reads with it.
        control: what accuracy control found, as its `to_dict`.
        origin: when it was measured, and of which commit.
        basis: a digest of what this row alone was measured of: the float32 files of a runtime of
            its own, the weights that were trained to be quantised, the points it may lose.
    """

    way: str
    form: str
    size: int
    size_ratio: float
    sets: Mapping[str, Mapping[str, float]]
    encode: float | None = None
    step: float | None = None
    total: float | None = None
    peak_mb: float | None = None
    control: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""
    basis: str = ""

    def cells(self) -> list[str]:
        """The cells of the row, as `header` names them."""
        cells = [self.way, f"{self.size / MB:.2f}", f"{self.size_ratio:.2f}"]
        for each in self.sets.values():
            cells.append(f"{100 * each['exact']:.2f}")
            cells.append(f"{each['points']:+.2f} [{each['low']:+.2f}, {each['high']:+.2f}]")
        times = (self.encode, self.step, self.total)
        cells += ["–" if each is None else f"{each:.2f}" for each in times]
        return [*cells, "–" if self.peak_mb is None else f"{self.peak_mb:.0f}"]


def header(sets: Iterable[str]) -> list[str]:
    """The names of the cells of a row."""
    accuracy = [cell for name in sets for cell in (f"{name} exact %", "points lost")]
    return ["way", "MB", "size", *accuracy, "encode", "step", "total", "peak MB"]


def ways(
    targets: Sequence[str],
    precisions: Sequence[str],
    methods: Sequence[str],
    controlled: bool,
    aware: bool,
) -> list[Way]:
    """All rows of a table: float32, then all forms of each target.

    Args:
        precisions: of which each target's own are taken; "all" for all of them.
        methods: the first is also that of the controlled and of the aware rows.

    Raises:
        QuantizationError: there is no such target.
        DataError: a precision that no target has.
    """
    from ..quantization.quantizers import precisions_of

    possible = {each for target in targets for each in precisions_of(target)} | {"all", "fp32"}
    if unknown := sorted(set(precisions) - possible):
        raise DataError(
            f"--precisions: expected some of {', '.join(sorted(possible))}, found {unknown[0]!r}"
        )
    found: list[Way] = []
    for target in targets:
        known = precisions_of(target)
        found.append(Way(target, "fp32"))
        for precision in known:
            if "all" not in precisions and precision not in precisions:
                continue
            # the ranges of ExecuTorch's quantiser are its own
            if precision not in STATIC or target == "executorch":
                found.append(Way(target, precision))
                method = ""
            else:
                found += [Way(target, precision, each) for each in methods]
                method = methods[0]
            if precision in (*STATIC, NNCF):
                found += [Way(target, precision, method, CONTROLLED)] * controlled
                found += [Way(target, precision, method, AWARE)] * (aware and precision != NNCF)
    return found


class Comparison:
    """Measures ways of a bundle.

    Args:
        bundle: in float32; a runtime whose float32 variant it lacks is compared with ONNX Runtime.
        source: gives, for a method and whether the weights are the aware ones, what to quantise.
        trials: by name of the data, `VALIDATION` first.
        formulas: to time with.
        max_drop: of the controlled rows, in points.
        aware: the bundle that was trained to be quantised, for the aware rows.
        origin: of the rows that are measured now.
    """

    def __init__(
        self,
        bundle: Bundle,
        source: Callable[[str, bool], QuantizationSource],
        trials: Mapping[str, Trials],
        formulas: Sequence[Formula],
        record: Record,
        max_drop: float,
        aware: Bundle | None = None,
        origin: str = "",
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.bundle = bundle
        self.aware = aware
        self.origin = origin
        self._source = source
        self._trials = trials
        self._formulas = formulas
        self._record = record
        self._max_drop = max_drop
        self._say = say

    def row(self, way: Way) -> Row:
        """What a way gives, measured now or before.

        Raises:
            InktexError: it cannot be made, or cannot be read with.
        """
        basis = self._basis(way)
        found: dict[str, Any] = self._record.get(
            f"{_ROW}{way}",
            lambda: asdict(replace(self._measured(way), origin=self.origin, basis=basis)),
            lambda found: found["basis"] == basis,
        )
        return Row(**found)

    def rows(self) -> list[Row]:
        """Of all ways that were measured, now or before, in that order."""
        return [Row(**each) for each in self._record.those(_ROW)]

    def _basis(self, way: Way) -> str:
        """What of a row's own would make it another row."""
        basis: dict[str, Any] = {}
        base = self._base(way.target)
        if base.target != "onnxruntime":  # whose files are the whole table's
            basis["files"] = digests(self.bundle, base)
        if way.how == CONTROLLED:
            basis["max_drop"] = self._max_drop
        if way.how == AWARE and self.aware:
            aware = self.aware
            basis["aware"] = digests(aware, aware.variant("onnxruntime", "fp32"))
        return sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:12]

    def _measured(self, way: Way) -> Row:
        from ..quantization.accuracy_control import control_accuracy
        from ..quantization.quantizers import quantizer, runtime_of

        base = self._base(way.target)
        control: Control | None = None
        if way.precision == "fp32":
            if base.target != runtime_of(way.target):
                raise BundleError(
                    f"{self.bundle.path}: expected a float32 variant for {way.target}, found none; "
                    f"export it with `--to onnx,{way.target}`"
                )
            form, variant, files = FLOAT, base, self._files(base)
        else:
            source = self._source(way.method or "mse", way.how == AWARE)
            made = quantizer(way.target, way.precision, source)
            form, kept = made.form, tuple[str, ...]()
            if way.how == CONTROLLED and made.layers:
                trials = self._trials[VALIDATION]
                control = control_accuracy(
                    replace(made, name=str(way)), trials, self._record, self._max_drop, self._say
                )
                kept = control.kept
            if way.how == CONTROLLED and not made.layers:
                variant, files = self._by_nncf(source)
            else:
                variant, files = made.make(kept)
        sets = {}
        for name, trials in self._trials.items():
            before: list[bool] = self._record.get(
                FLOAT if name == VALIDATION else f"{FLOAT} {name}", trials.reference_right
            )
            after = trials.right(variant, files)
            sets[name] = {"exact": sum(after) / len(after), **paired_drop(before, after).to_dict()}
        size = sum(map(len, files.values()))
        whole = sum(map(len, self._files(base).values()))
        row = Row(str(way), form, size, size / whole, sets)
        if control:
            row = replace(row, control=control.to_dict())
        return self._timed(row, variant, files, base)

    def _by_nncf(self, source: QuantizationSource) -> tuple[Variant, Files]:
        """The variant that NNCF's own accuracy control ends with."""
        from ..export.plain_graphs import graphs_of
        from ..quantization.nncf_int8 import nncf_controlled
        from ..quantization.quantizers import nncf_variant

        trials = self._trials[VALIDATION]
        step = graphs_of(self.bundle, trials.reference).step

        def right(encoder: Graph, samples: Sequence[Sample]) -> list[bool]:
            model = GraphModel(self.bundle.manifest, Graphs(encoder, step))
            return trials.right_with(model, samples)

        encoder = nncf_controlled(
            source.encoder, source.images, trials.samples, right, self._max_drop
        )
        return nncf_variant(source, encoder)

    def _timed(self, row: Row, variant: Variant, files: Files, base: Variant) -> Row:
        """The row with times and memory, where the runtime can run here."""
        variants = (base,) if variant == base else (base, variant)
        everything: dict[str, bytes | Path] = {**self._files(base), **files}
        with tempfile.TemporaryDirectory(prefix="inktex-") as place:
            manifest = replace(self.bundle.manifest, variants=variants, golden=None)
            both = write_bundle(Path(place) / "bundle", manifest, everything)
            try:
                choose(both, variant.target, variant.precision, threads=1)
            except (ImportError, InktexError):
                return row
            [memory] = measure_memory(both, self._formulas, variants=[variant], beams=[1], passes=1)
            row = replace(row, peak_mb=memory.peak / MB)
            if len(variants) == 1:
                return replace(row, encode=1.0, step=1.0, total=1.0)
            contenders = [
                BundleContender(
                    both, Configuration("inktex", each.target, each.precision, threads=1, beams=1)
                )
                for each in variants
            ]
            effort = Effort(samples=1, seconds=0.0, repeats=1)
            before, after = measure_streams(contenders, self._formulas, effort).each
        ratio = ratio_of(after, before)
        return replace(
            row,
            encode=ratio.encode.value if ratio.encode else None,
            step=ratio.step.value if ratio.step else None,
            total=ratio.total.value,
        )

    def _base(self, target: str) -> Variant:
        from ..quantization.quantizers import runtime_of

        for name in (runtime_of(target), "onnxruntime"):
            for variant in self.bundle.manifest.variants:
                if (variant.target, variant.precision) == (name, "fp32"):
                    return variant
        return self.bundle.variant("onnxruntime", "fp32")  # which says what there is

    def _files(self, variant: Variant) -> Files:
        return {name: self.bundle.read(name) for name in digests(self.bundle, variant)}


def digests(bundle: Bundle, variant: Variant) -> dict[str, str]:
    """The files of a variant, whose graphs may be folders: for each name its SHA-256."""
    return {
        name: record.sha256
        for name, record in bundle.manifest.files.items()
        for graph in variant.graphs.values()
        if name == graph or name.startswith(f"{graph}/")
    }


def pareto(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other beats in accuracy, time and size at once; those without times are
    none."""

    def costs(row: Row) -> tuple[float, float, float]:
        assert row.total is not None
        return (-row.sets[VALIDATION]["exact"], row.total, row.size_ratio)

    return unbeaten([row for row in rows if row.total is not None], costs)
