"""From what a user types after `--peer` to a contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.bundle import Bundle
from ...core.errors import DataError
from ..profiler.contender import Configuration, Contender, Reader
from .eager import COMER, EagerPeer
from .onnx_pair import OnnxPair
from .packages import PackagePeer

RECIPES = ("edge", "coverage", "abm", "mask_and_match")
"""Of `training/recipes.py`, which needs torch."""
PAIR = "pair"
_KEYS = {
    **dict.fromkeys((*RECIPES, COMER), ("from", "beam", "threads", "name")),
    PAIR: ("from", "beam", "threads", "precision", "name"),
    "rapid_latex_ocr": ("from", "threads", "name"),
    "pix2tex": ("threads", "name"),
}
"""The settings of every peer; the search of a package, and the weights of pix2tex, are its own."""


@dataclass(frozen=True)
class _Named:
    """A peer under a name that its user has chosen."""

    peer: Contender
    name: str

    @property
    def configuration(self) -> Configuration:
        return replace(self.peer.configuration, system=self.name)

    @property
    def trained(self) -> bool:
        return self.peer.trained

    def load(self) -> Reader:
        return self.peer.load()


def peers_of(texts: Sequence[str], bundle: Bundle, random_weights: bool) -> list[Contender]:
    """The peers as `peer_of` reads them.

    Raises:
        DataError: as there, or two of them could not be told apart in a report.
    """
    made: dict[str, str] = {}
    peers = []
    for text in texts:
        peer = peer_of(text, bundle, random_weights)
        label = peer.configuration.label
        if label in made:
            raise DataError(
                f"--peer {text}: expected a peer that a report can tell from others, found "
                f"another {label} (--peer {made[label]}); give one a name, as in name=other"
            )
        made[label] = text
        peers.append(peer)
    return peers


def peer_of(text: str, bundle: Bundle, random_weights: bool) -> Contender:
    """A peer by its name and settings.

    Args:
        text: "abm,beam=10", "mask_and_match,from=last.safetensors", "pair,from=comer,beam=10",
            "pix2tex", "rapid_latex_ocr,from=models", "pair,from=mine,name=mine".
        bundle: it is compared with.
        random_weights: whether a recipe may go without weights, and a pair has none that mean
            anything.

    Raises:
        DataError: there is no such peer or setting, or its weights are missing.
    """
    name, *settings = (part.strip() for part in text.split(","))
    if name not in _KEYS:
        raise DataError(f"--peer {text}: expected one of {', '.join(_KEYS)}, found {name!r}")
    values: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in _KEYS[name] or not equals or not value:
            known = ", ".join(_KEYS[name])
            raise DataError(
                f"--peer {text}: expected settings out of {known}, as in name=other, found "
                f"{setting!r}; leave it out"
            )
        if key in values:
            raise DataError(
                f"--peer {text}: expected {key} once, found {key}={values[key]} and {setting}; "
                "keep one of them, or give --peer twice"
            )
        values[key] = value
    if values.get("name") == "inktex":
        raise DataError(f"--peer {text}: name: expected another than that of what it is beside")
    peer = _unnamed(text, name, values, bundle, random_weights)
    return _Named(peer, values["name"]) if "name" in values else peer


def _unnamed(
    text: str, name: str, values: Mapping[str, str], bundle: Bundle, random_weights: bool
) -> Contender:
    """The peer of a name and settings; `text` is both, for messages."""
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
    return PackagePeer(name, weights, threads)
