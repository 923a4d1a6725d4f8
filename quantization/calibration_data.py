"""Formulas to calibrate with and to validate on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.bundle import Bundle
from ..core.errors import QuantizationError
from ..training.data_import import import_data
from ..training.import_settings import ImportSettings
from ..training.inkset import SUFFIX, Expression, load_inkset
from ..training.split import split_as_trained


def load_calibration(path: Path) -> list[Expression]:
    """The formulas of an ink set, or of a zip or folder of ink or images; captions are not needed.

    Raises:
        DataError: there is nothing of that kind.
        QuantizationError: it is a bundle.
    """
    if (path / "manifest.json").is_file():
        raise QuantizationError(
            f"--calibration: expected ink or images, found the bundle {path}; the bundle comes "
            "first, the data behind --calibration"
        )
    if path.suffix == SUFFIX:
        return load_inkset(path)
    expressions, _ = import_data([path], ImportSettings(labelled=False))
    return expressions


def split_for(
    bundle: Bundle, expressions: Sequence[Expression]
) -> tuple[list[Expression], list[Expression]]:
    """(to calibrate with, to validate on), cut as the training of a bundle cut its data, so that
    nothing is validated on that was trained on.

    Raises:
        QuantizationError: the expressions have no captions, or none is left for a side.
    """
    if not all(each.caption for each in expressions):
        raise QuantizationError(
            "--max-drop: expected formulas with captions to measure accuracy on, found calibration "
            "data without; name an ink set that has them with --validation"
        )
    told = bundle.manifest.provenance.get("recipe")
    recipe: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    training, validation = split_as_trained(expressions, recipe)
    if not training or not validation:
        raise QuantizationError(
            f"expected calibration data to hold some out of for validation, found "
            f"{len(expressions)} formulas, of which {len(validation)} can be; name an ink set to "
            "validate on with --validation"
        )
    return training, validation
