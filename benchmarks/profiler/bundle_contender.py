"""A bundle on one of its runtimes, as a contender; and which of them can run here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from weakref import WeakValueDictionary

from ...core.bundle import Bundle
from ...core.errors import InktexError, RuntimeUnavailable
from ...core.recognizer import Recognizer
from ...runtimes import choose, load
from .contender import Configuration
from .stages import StagedReader

Shared: TypeAlias = "WeakValueDictionary[tuple[str, str, int], Recognizer]"


@dataclass(frozen=True)
class BundleContender:
    """A variant of a bundle with threads and beams.

    Attributes:
        constrain: keep to well-formed formulas.
        shared: the recognizers that are loaded, by runtime, precision and threads.
    """

    bundle: Bundle
    configuration: Configuration
    constrain: bool = True
    trained: bool = True
    shared: Shared = field(default_factory=WeakValueDictionary)

    def load(self) -> StagedReader:
        """The recognizer of `inktex.runtimes.load`, every stage of it clocked. Those who differ in
        their beams share one, as long as any of them holds it."""
        own = self.configuration
        key = (own.runtime, own.precision, own.threads)
        recognizer = self.shared.get(key)
        if recognizer is None:
            recognizer = load(self.bundle, *key)
            self.shared[key] = recognizer
        return StagedReader(recognizer, own.beams, self.constrain)


@dataclass(frozen=True)
class RuntimePrecision:
    """A runtime, with its provider where it has several, and a precision."""

    runtime: str
    precision: str


def choices(
    bundle: Bundle, runtimes: Sequence[str], precisions: Sequence[str]
) -> tuple[list[RuntimePrecision], list[str]]:
    """What of a bundle can run here, fp32 first.

    Args:
        runtimes: names, also with a provider ("onnxruntime:cuda"); "auto" for the one that a user
            gets who does not say, "all" for every one of the bundle.
        precisions: likewise.

    Returns:
        The choices, and why others are left out.

    Raises:
        BundleError: the bundle has no such variant.
        RuntimeUnavailable: nothing that was asked for can run here.
    """
    found: dict[RuntimePrecision, None] = {}
    left_out = []
    for runtime in runtimes:
        for precision in precisions:
            for wanted in _wanted(bundle, runtime, precision):
                try:
                    running, _ = choose(bundle, wanted.runtime, wanted.precision, threads=1)
                except (ImportError, InktexError) as error:
                    left_out.append(f"{wanted.runtime} {wanted.precision} is left out: {error}")
                else:
                    found[RuntimePrecision(running.runtime, running.precision)] = None
    if not found:
        raise RuntimeUnavailable(
            f"{bundle.path}: nothing of what was asked for can run here: {'; '.join(left_out)}; "
            "`inktex runtimes` tells what is missing"
        )
    return sorted(found, key=lambda each: each.precision != "fp32"), left_out


def _wanted(bundle: Bundle, runtime: str, precision: str) -> list[RuntimePrecision]:
    """The variants that two words mean; "auto" stays, for `choose` to see."""
    name, _, _ = runtime.partition(":")
    if "all" not in (runtime, precision):
        if name != "auto":
            bundle.variant(name, precision)  # says which there are
        return [RuntimePrecision(runtime, precision)]
    return [
        RuntimePrecision(each.target if runtime in ("all", "auto") else runtime, each.precision)
        for each in bundle.manifest.variants
        if name in ("all", "auto", each.target) and precision in ("all", "auto", each.precision)
    ]
