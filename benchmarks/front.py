"""What the arms of a study cost on a device, beside what they read: the front of both.

A recognizer that was trained shortly writes too much or too little, so that the times of its own
readings would compare answers, not shapes. Here every arm is charged for the formulas as they are:
the encoder for their drawing, a step for each token of their captions and one for the end. And it
is the validation loss that ranks them: after a short training it tells two shapes apart where a few
hundred formulas, most of them misread, do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..core.bundle import MANIFEST, Bundle
from ..core.errors import DataError
from . import tradeoff
from .formulas import Formula
from .profiler.bundle_contender import BundleContender
from .profiler.contender import Configuration, Reading
from .profiler.single_stream import Effort, measure_streams
from .report import MB
from .studying import modified
from .tradeoff import Spot, unbeaten

if TYPE_CHECKING:
    from ..training.inkset import Expression
    from .studying import Outcome, Studying

HEADER = (
    "arm", "parameters, M", "INT8, MB", "encode ms", "step ms", "a formula ms", "to the first",
    "validation loss", "validation exact %",
)  # fmt: skip
PRECISION = "int8"
_CALIBRATION = 128


@dataclass(frozen=True)
class Point:
    """One arm.

    Attributes:
        parameters: of what is exported.
        size: bytes of both graphs.
        encode_ms, step_ms: means.
        formula_ms: the mean over the formulas of an encoder and of as many steps as they have
            tokens, and one.
        ratio: of the first arm's.
        validation_loss: nats a token on held-out ink, with teacher forcing.
        validation: ExpRate on it in percent.
    """

    arm: str
    parameters: int
    size: int
    encode_ms: float
    step_ms: float
    formula_ms: float
    ratio: float
    validation_loss: float
    validation: float

    def cells(self) -> list[str]:
        """The cells of a row, as `HEADER` names them."""
        return [
            self.arm,
            f"{self.parameters / 1e6:.2f}",
            f"{self.size / MB:.2f}",
            f"{self.encode_ms:.2f}",
            f"{self.step_ms:.3f}",
            f"{self.formula_ms:.2f}",
            f"{self.ratio:.3f}",
            f"{self.validation_loss:.3f}",
            f"{self.validation:.1f}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The point, ready for JSON."""
        return asdict(self)


def measure_front(
    studying: Studying,
    outcomes: Sequence[Outcome],
    formulas: Sequence[Formula],
    calibration: Sequence[Expression],
    effort: Effort,
) -> list[Point]:
    """Export every arm in INT8, and time them in turn on one thread.

    Args:
        studying: whose arms are trained.
        outcomes: of the arms to time, or means over their seeds.
        formulas: with captions.
        calibration: ink to quantise with.

    Raises:
        DataError: a formula has no caption.
    """
    captions = [each.caption or () for each in formulas]
    if not all(captions):
        raise DataError("expected a caption of every formula to time with, found one without")
    bundles = {each.arm: _bundle(studying, each.arm, calibration) for each in outcomes}
    contenders = [
        BundleContender(bundle, Configuration(arm, "onnxruntime", PRECISION, 1, 1))
        for arm, (bundle, _) in bundles.items()
    ]
    streams = measure_streams(contenders, formulas, effort)
    points: list[Point] = []
    for outcome, stream in zip(outcomes, streams.each, strict=True):
        bundle, parameters = bundles[outcome.arm]
        vocabulary = bundle.manifest.vocabulary  # may spare braces
        kept = [len(vocabulary.written(captions[number])) for number in streams.kept]
        encode_ms, step_ms, formula_ms = _times(
            [each for repeat in stream.repeats for each in repeat.passes], kept
        )
        points.append(
            Point(
                outcome.arm,
                parameters,
                _size(bundle),
                encode_ms,
                step_ms,
                formula_ms,
                formula_ms / points[0].formula_ms if points else 1.0,
                outcome.validation_loss,
                outcome.validation,
            )
        )
    return points


def _times(passes: Sequence[Sequence[Reading]], lengths: Sequence[int]) -> tuple[float, ...]:
    """Milliseconds of an encoder, of a step, and of a formula with so many tokens; the means."""
    readings = [each for one in passes for each in one]
    encode_ms = fmean(each.stages_ms["encode"] for each in readings)
    step_ms = fmean(each.stages_ms["step"] / each.steps for each in readings)
    formula_ms = fmean(
        each.stages_ms["encode"] + each.stages_ms["step"] / each.steps * (length + 1)
        for one in passes
        for each, length in zip(one, lengths, strict=False)  # an interrupted pass is shorter
    )
    return encode_ms, step_ms, formula_ms


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in loss and time at once, the fastest first."""
    best = unbeaten(points, lambda each: (each.formula_ms, each.validation_loss))
    return sorted(best, key=lambda each: each.formula_ms)


def plot(points: Sequence[Point]) -> bytes:
    """Loss against time as PNG."""
    best = front(points)
    return tradeoff.plot(
        [Spot(each.arm, each.formula_ms, each.validation_loss, each.size) for each in points],
        [number for number, each in enumerate(points) if each in best],
        "encoder and steps of a formula, INT8, one thread, ms",
        "validation loss, nats a token",
        less_is_better=True,
    )


def _bundle(studying: Studying, name: str, calibration: Sequence[Expression]) -> tuple[Bundle, int]:
    """An arm in INT8, made once after its training, and how many parameters its graphs hold."""
    from ..export.checkpoint_bundle import export_bundle
    from ..quantization.quantized_bundle import Settings, quantize_bundle
    from ..training.checkpoint import Checkpoint

    [arm] = [each for each in studying.study.arms if each.name == name]
    path: Path = studying.place(name) / "bundle"
    checkpoint = Checkpoint.load(studying.last(arm))
    if not path.is_dir() or modified(path / MANIFEST) < modified(studying.last(arm)):
        plain = export_bundle(checkpoint, studying.place(name) / "float32")
        settings = Settings(samples=min(_CALIBRATION, len(calibration)))
        quantize_bundle(plain, path, calibration, settings, keep_fp32=False)
    network = checkpoint.trained_network()
    # heads that only training sees are no part of the graphs
    parts: Mapping[str, Any] = dict(network.named_children())
    exported = [part for part in (parts.get("encoder"), parts.get("decoder")) if part is not None]
    parameters = sum(each.numel() for part in exported or [network] for each in part.parameters())
    return Bundle.open(path), parameters


def _size(bundle: Bundle) -> int:
    variant = bundle.variant("onnxruntime", PRECISION)
    return sum(bundle.manifest.files[name].size for name in set(variant.graphs.values()))
