"""A float32 bundle to a quantised one, with a report in its manifest."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..core.bundle import Bundle, check_replaceable, write_bundle
from ..core.errors import QuantizationError
from ..core.manifest import Variant
from ..export.targets import Files
from ..training.checkpoint import Checkpoint
from ..training.inkset import Expression, fingerprint
from .accuracy_control import Control, control_accuracy
from .quantizers import check_form, quantizer, runtime_of
from .record import Record
from .source import QuantizationSource, calibration_images, check_not_quantized
from .trials import Trials

Form = tuple[str, str]
"""Target and precision, as `quantizers.FORMS` knows them."""


@dataclass(frozen=True)
class Settings:
    """How to quantise.

    Attributes:
        forms: the preferred one first.
        samples: formulas to calibrate with.
        seed: of their choice, and of the activations drawn.
        method: how ranges are found, one of `ranges.METHODS`.
        max_drop: points of ExpRate that may be lost; None measures nothing.
        forced: formulas that tell how far a layer agrees with float32.
        beams: of the search that is measured.
    """

    forms: tuple[Form, ...] = (("onnx", "int8"),)
    samples: int = 256
    seed: int = 1
    method: str = "mse"
    max_drop: float | None = None
    forced: int = 64
    beams: int = 1

    def __post_init__(self) -> None:
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise QuantizationError(
                f"--max-drop: expected points of ExpRate from 0 to 100, found {self.max_drop:g}"
            )
        if not self.forms:
            raise QuantizationError("expected a target and a precision to quantise to, found none")
        for form in self.forms:
            check_form(*form)


def quantize_bundle(
    bundle: Bundle,
    path: Path,
    calibration: Sequence[Expression],
    settings: Settings,
    validation: Sequence[Expression] = (),
    *,
    checkpoint: Checkpoint | None = None,
    keep_fp32: bool = True,
    state: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Bundle:
    """Write a bundle with quantised variants, preferred over those that were there.

    Args:
        calibration: of which `settings.samples` are drawn.
        validation: with captions; needed for `settings.max_drop`.
        checkpoint: as `QuantizationSource` takes it.
        keep_fp32: whether what was in the bundle goes into the result too.
        state: a file that holds what was measured until all is written; with the same bundle, data
            and settings an interrupted run goes on from it.
        say: told what is done.

    Raises:
        QuantizationError: too few samples, a bundle that is quantised already or has what is
            asked for, an operator that a target rejects, or `max_drop` cannot be held.
        BundleError: there is something else at `path`.
    """
    check_not_quantized(bundle)
    if keep_fp32:
        _check_new(bundle, settings.forms)
    check_replaceable(path)
    images = calibration_images(bundle, calibration, settings.samples, settings.seed)
    source = QuantizationSource(bundle, images, settings.method, settings.seed, checkpoint)
    # what cannot be made says so before anything is measured
    quantizers = [quantizer(*form, source) for form in settings.forms]
    record = Record(state, _question(bundle, calibration, validation, settings))
    if record.count:
        say(f"goes on with {record.count} findings of an interrupted run ({state})")
    elif record.others:
        say(
            f"begins anew, as the {record.others} findings of an interrupted run are of other data "
            f"or settings ({state})"
        )
    trials = None
    if settings.max_drop is not None:
        trials = Trials(bundle, validation, settings.forced, settings.beams)
    made: list[Variant] = []
    files: Files = {}
    report: dict[str, Any] = {}
    for each in quantizers:
        say(f"{each.name}: {each.form}")
        control = None
        if trials is not None and settings.max_drop is not None:
            control = control_accuracy(each, trials, record, settings.max_drop, say)
            if control.noise:
                say(control.noise)
        variant, written = each.make(control.kept if control else ())
        made.append(replace(variant, exp_rate=_exp_rate(control)))
        files |= written
        report[each.name] = {"form": each.form, **(control.to_dict() if control else {})}
    if keep_fp32:
        made += bundle.manifest.variants
    kept = {
        name: file
        for name, file in bundle.contents().items()
        if keep_fp32 or name == bundle.manifest.golden
    }
    provenance = {
        **bundle.manifest.provenance,
        "quantization": {
            "samples": len(images),
            "seed": settings.seed,
            "method": settings.method,
            "calibration": fingerprint(calibration),
            "validation": fingerprint(validation) if trials else None,
            "validated_on": len(validation) if trials else 0,
            "onnxruntime": version("onnxruntime"),
            "machine": platform.machine(),
            "variants": report,
        },
    }
    manifest = replace(bundle.manifest, variants=tuple(made), provenance=provenance)
    result = write_bundle(path, manifest, {**kept, **files})
    record.remove()
    return result


def _check_new(bundle: Bundle, forms: Sequence[Form]) -> None:
    """Raise QuantizationError where a bundle has one of the forms: float16 can be exported."""
    there = {(each.target, each.precision) for each in bundle.manifest.variants}
    for target, precision in forms:
        if (runtime_of(target), precision) in there:
            raise QuantizationError(
                f"{bundle.path}: expected a bundle without {target} {precision}, found one that "
                "has it; leave that out of --to or --targets, or what is there with --only"
            )


def _exp_rate(control: Control | None) -> Mapping[str, Any]:
    """What a variant's manifest says of its accuracy."""
    if control is None:
        return {}
    return {
        "quantization": {
            "count": control.drop.count,
            "exact": control.exact,
            "drop": control.drop.points,
            "drop_interval": [control.drop.low, control.drop.high],
            "max_drop": control.max_drop,
        }
    }


def _question(
    bundle: Bundle,
    calibration: Sequence[Expression],
    validation: Sequence[Expression],
    settings: Settings,
) -> dict[str, Any]:
    """What findings depend on; not the drop that is allowed, which only chooses among them."""
    return {
        "files": {name: record.sha256 for name, record in bundle.manifest.files.items()},
        "calibration": fingerprint(calibration),
        "validation": fingerprint(validation),
        "settings": [
            settings.samples,
            settings.seed,
            settings.method,
            settings.forced,
            settings.beams,
        ],
        "onnxruntime": version("onnxruntime"),
    }
