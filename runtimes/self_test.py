"""A self-test: every variant of a bundle that can run here reads the golden formula."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core.bundle import Bundle
from ..core.errors import BundleError, InktexError
from ..core.manifest import Variant
from ..core.recognizer import read_plainly, reads_alike


@dataclass(frozen=True)
class Finding:
    """What became of one variant.

    Attributes:
        passed: whether it could be loaded and read what it should.
        load_ms, read_ms: of the wall clock, the first time; None where it did not come so far.
        latex: what was read, as tokens.
        problem: what went wrong and what to do, "" where nothing did.
    """

    runtime: str
    precision: str
    passed: bool
    load_ms: float | None = None
    read_ms: float | None = None
    latex: str = ""
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def examine(bundle: Bundle) -> list[Finding]:
    """Read the golden image of a bundle with every variant.

    Raises:
        BundleError: the bundle has no golden arrays, or they are damaged.
    """
    golden = bundle.golden()
    try:
        image, wanted = golden["encoder.images"], golden["greedy"].tolist()
    except KeyError as error:
        raise BundleError(
            f"{bundle.path}: expected a golden image and what is read from it, found no {error}; "
            "export the bundle again"
        ) from None
    return [_examine(bundle, variant, image, wanted) for variant in bundle.manifest.variants]


def _examine(bundle: Bundle, variant: Variant, image: Any, wanted: list[int]) -> Finding:
    from . import choose

    name, precision = variant.target, variant.precision
    vocabulary = bundle.manifest.vocabulary
    try:
        began = time.perf_counter()
        _, model = choose(bundle, name, precision, threads=1)
        loaded = time.perf_counter()
        found = read_plainly(model, bundle.manifest, image.astype(np.float32))
        read = time.perf_counter()
    except InktexError as error:
        return Finding(name, precision, False, problem=str(error))
    except Exception as error:  # a runtime's own; the other variants are examined all the same
        problem = f"unforeseen {type(error).__name__}: {error}; please report it"
        return Finding(name, precision, False, problem=problem)
    tokens = list(found.tokens)
    problem = ""
    if not reads_alike(tokens, wanted, precision):
        problem = (
            f"expected {' '.join(vocabulary.decode(wanted))!r}, as torch read it, found "
            f"{' '.join(vocabulary.decode(tokens))!r}; upgrade the runtime, or use another"
        )
    times = (1e3 * (loaded - began), 1e3 * (read - loaded))
    latex = " ".join(vocabulary.decode(tokens))
    return Finding(name, precision, not problem, *times, latex, problem)
