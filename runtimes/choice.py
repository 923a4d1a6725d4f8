"""Which of a bundle's variants is the fastest here: measured once, and remembered.

The candidates read the bundle's golden formula in turn, so that whatever else the machine does
befalls all of them; the least median wins, and of those that come near it one that reads trees,
else the first in the bundle. What does not read it as torch did is no candidate, nor what loses
more accuracy than it was allowed (`holds`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ..core.bundle import Bundle
from ..core.errors import InktexError
from ..core.manifest import Variant
from ..core.recognizer import read_plainly, reads_alike
from ..core.replacement import replacing
from ..core.step_model import StepModel
from .cache_folder import cache_folder
from .catalogue import Machine, statuses

_ROUNDS = 7
_ENOUGH_S = 2.0  # of measuring, once every candidate has read twice
_TIED = 1.1  # times the least median: two runtimes with the same kernels differ by as much

Make = Callable[[Variant], "StepModel[Any, Any]"]
"""Loads a variant's model; raises what a runtime raises that cannot."""


@dataclass(frozen=True)
class Choice:
    """What runs, and why.

    Attributes:
        why: for people.
        measured_ms: by "runtime precision", the median time to read the golden formula; empty
            where nothing was compared.
        failed: by the same, why it is no candidate.
    """

    runtime: str
    precision: str
    why: str
    measured_ms: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def names(self, variant: Variant) -> bool:
        """Whether it is this variant."""
        return (variant.target, variant.precision) == (self.runtime, self.precision)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def name_of(variant: Variant) -> str:
    """What a variant is called among others: "openvino fp32"."""
    return f"{variant.target} {variant.precision}"


def holds(variant: Variant) -> bool:
    """Whether a variant loses no more accuracy than it was allowed when it was quantised; one of
    which nothing was measured does."""
    told = variant.exp_rate.get("quantization")
    if not isinstance(told, Mapping):
        return True
    drop, allowed = told.get("drop"), told.get("max_drop")
    if not isinstance(drop, int | float) or not isinstance(allowed, int | float):
        return True
    return drop <= allowed + 1e-9


def fastest(
    bundle: Bundle,
    candidates: Sequence[Variant],
    threads: int | None,
    make: Make,
    provider: str = "",
) -> Choice | None:
    """The fastest of some variants, remembered from before or measured now.

    Args:
        candidates: two or more, of runtimes that are installed.
        threads: that the models get.
        make: loads one.
        provider: of ONNX Runtime, which they are loaded with.

    Returns:
        None where nothing can be measured: the bundle has no golden formula, or nothing reads it.
    """
    place = _place(bundle, candidates, threads, provider)
    remembered = _remembered(place, candidates)
    return remembered or measure(bundle, candidates, make, place)


def measure(
    bundle: Bundle, candidates: Sequence[Variant], make: Make, place: Path | None = None
) -> Choice | None:
    """As `fastest`, whatever is remembered.

    Args:
        place: the file to remember it in; a folder that cannot be written to is no error.
    """
    try:
        golden = bundle.golden()
        image, wanted = golden["encoder.images"].astype(np.float32), golden["greedy"].tolist()
    except (InktexError, KeyError):
        return None
    models: dict[str, StepModel[Any, Any]] = {}
    variants = {name_of(variant): variant for variant in candidates}
    failed: dict[str, str] = {}
    for variant in candidates:
        try:
            model = make(variant)
            found = read_plainly(model, bundle.manifest, image).tokens
        except (ImportError, InktexError) as error:
            failed[name_of(variant)] = str(error)
            continue
        if reads_alike(found, wanted, variant.precision):
            models[name_of(variant)] = model
        else:
            failed[name_of(variant)] = "it does not read the golden formula; run `inktex verify`"
    if not models:
        return None
    times: dict[str, list[float]] = {name: [] for name in models}
    began = time.perf_counter()
    for turn in range(_ROUNDS):
        for name, model in models.items():
            start = time.perf_counter()
            read_plainly(model, bundle.manifest, image)
            times[name].append(1e3 * (time.perf_counter() - start))
        if turn and time.perf_counter() - began > _ENOUGH_S:
            break
    medians = {name: round(median(each), 3) for name, each in times.items()}
    fastest_ms = min(medians.values())
    tied = [name for name, ms in medians.items() if ms <= _TIED * fastest_ms]
    # who reads trees is faster with drafts and beams, which a greedy reading does not tell
    best = next((name for name in tied if variants[name].tree), tied[0])
    others = ", ".join(f"{name} {ms:.1f} ms" for name, ms in medians.items() if name != best)
    among = "the fastest here" if len(tied) == 1 else "one of the fastest here"
    why = f"{among}: {medians[best]:.1f} ms for a small formula"
    if others:
        why += f", against {others}"
    choice = Choice(variants[best].target, variants[best].precision, why, medians, failed)
    if place is not None:
        _remember(place, choice)
    return choice


def forget(bundle: Bundle) -> None:
    """Have what is remembered of a bundle measured anew."""
    shutil.rmtree(_folder(bundle), ignore_errors=True)


def _folder(bundle: Bundle) -> Path:
    """Where choices among the variants of a bundle are kept, named after its contents."""
    files = {name: record.sha256 for name, record in bundle.manifest.files.items()}
    return cache_folder() / "choices" / _digest(files)


def _place(
    bundle: Bundle, candidates: Sequence[Variant], threads: int | None, provider: str
) -> Path:
    """The file for a choice: another one for whatever might change it."""
    facts = {
        "candidates": [name_of(variant) for variant in candidates],
        "threads": threads,
        "provider": provider,
        "machine": Machine.present().to_dict(),
        "versions": {each.name: each.version for each in statuses()},
    }
    return _folder(bundle) / f"{_digest(facts)}.json"


def _digest(facts: Mapping[str, Any]) -> str:
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _remembered(place: Path, candidates: Sequence[Variant]) -> Choice | None:
    """What a file says, if it is whole and names a candidate."""
    try:
        choice = Choice(**json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return choice if any(map(choice.names, candidates)) else None


def _remember(place: Path, choice: Choice) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with replacing(place) as partial:
            partial.write_text(json.dumps(choice.to_dict()), encoding="utf-8")
    except (OSError, InktexError):
        pass  # no room, or not ours to write: it is measured again the next time
