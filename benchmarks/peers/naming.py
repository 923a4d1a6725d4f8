"""From what a user types after `--peer` to a contender."""

from __future__ import annotations

from pathlib import Path

from ...core.bundle import Bundle
from ...core.errors import DataError
from ..profiler.contender import Contender
from .eager import COMER, EagerPeer
from .onnx_pair import OnnxPair
from .packages import PACKAGES, PackagePeer

RECIPES = ("edge", "coverage", "abm", "mask_and_match")
"""Of `training/recipes.py`, which needs torch."""
PAIR = "pair"
_KEYS = ("from", "beam", "threads", "precision")


def peer_of(text: str, bundle: Bundle, random_weights: bool) -> Contender:
    """A peer by its name and settings.

    Args:
        text: "abm,beam=10", "mask_and_match,from=last.safetensors", "pair,from=comer,beam=10",
            "pix2tex", "rapid_latex_ocr,from=models".
        bundle: it is compared with.
        random_weights: whether a recipe may go without weights, and a pair has none that mean
            anything.

    Raises:
        DataError: there is no such peer or setting, or its weights are missing.
    """
    name, *settings = (part.strip() for part in text.split(","))
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in _KEYS or not equals or not value:
            raise DataError(
                f"--peer {text}: expected settings out of {', '.join(_KEYS)}, as in beam=10, found "
                f"{setting!r}"
            )
        values[key] = value
    numbers = {}
    for key in ("beam", "threads"):
        number = values.get(key, "1")
        if not number.isdecimal() or int(number) < 1:
            raise DataError(f"--peer {text}: {key}: expected a whole number > 0, found {number!r}")
        numbers[key] = int(number)
    weights = Path(values["from"]) if "from" in values else None
    vocabulary, preprocessing = bundle.manifest.vocabulary, bundle.manifest.preprocessing
    beams, threads = numbers["beam"], numbers["threads"]
    if name == COMER and (weights or not random_weights):
        raise DataError(
            f"--peer {text}: expected no weights, as the published ones are read by their own code "
            "alone; leave from= out, and say --random-weights"
        )
    if name in (*RECIPES, COMER):
        if weights is None and not random_weights:
            raise DataError(
                f"--peer {text}: expected weights (from=CHECKPOINT), found none; where only the "
                "time counts, say --random-weights"
            )
        return EagerPeer(name, weights, vocabulary, preprocessing, beams, threads)
    if name == PAIR:
        if weights is None:
            raise DataError(
                f"--peer {text}: expected the folder of the pair (from=FOLDER), found none"
            )
        precision = values.get("precision", "fp32")
        trained = not random_weights
        return OnnxPair(weights, vocabulary, preprocessing, precision, trained, beams, threads)
    if name in PACKAGES:
        return PackagePeer(name, weights, threads)
    known = ", ".join((*RECIPES, COMER, PAIR, *PACKAGES))
    raise DataError(f"--peer {text}: expected one of {known}, found {name!r}")
