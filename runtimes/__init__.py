"""Runtimes: thin adapters that run a bundle's graphs. `load()` gives a recognizer.

>>> import inktex.runtimes
>>> recognizer = inktex.runtimes.load()                    # doctest: +SKIP
>>> recognizer("examples/01-square.inkml").latex              # doctest: +SKIP
'x^{2}'

A runtime is an entry point of the group `inktex.runtimes`, named as the target of the variants it
runs, and called with `(bundle, variant, threads)`; it gives a `StepModel`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.telemetry import disable_telemetry

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ..core.bundle import Bundle
    from ..core.manifest import Variant
    from ..core.recognizer import Recognizer, Running
    from ..core.step_model import StepModel

disable_telemetry()  # before a library is imported that would tell

GROUP = "inktex.runtimes"
DEFAULT_BUNDLE = Path(__file__).parent / "data" / "default"
"""The bundle that comes with inktex."""


def bundle_folder(bundle: str | os.PathLike[str] | None = None) -> str | os.PathLike[str]:
    """Where a bundle lies: as it is named; with no name, or "default", the one that comes with
    inktex, unless something of that name is there."""
    if bundle is None or (str(bundle) == "default" and not os.path.exists(bundle)):
        return DEFAULT_BUNDLE
    return bundle


def load(
    bundle: str | os.PathLike[str] | Bundle | None = None,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Recognizer:
    """Open a bundle and make a recognizer of it.

    Args:
        bundle: a directory, or a bundle already open; by default, and as "default", the one that
            comes with inktex.
        runtime: the name of a runtime, for ONNX Runtime also with a provider
            ("onnxruntime:cuda"); or "auto": of the bundle's variants whose runtime is installed
            here one of the fastest (docs/runtimes.md); measured once, and remembered.
        precision: "fp32", "int8", …, or "auto": likewise, of those that lose no more accuracy than
            they were allowed when they were quantised.
        threads: of the runtime; by default as many as this process may use, at most 4.

    Raises:
        BundleError: no bundle, a damaged one, or one without such a variant.
        RuntimeUnavailable: no such runtime, or it is not installed.
        InputError: `runtime` or `precision` is no name, or `threads` no number that can be.
    """
    from ..core.bundle import Bundle
    from ..core.errors import BundleError, InputError
    from ..core.recognizer import Recognizer

    for option, name in (("runtime", runtime), ("precision", precision)):
        if not isinstance(name, str):
            raise InputError(f"{option}: expected a name, such as 'auto', found {name!r}")
    folder = bundle.path if isinstance(bundle, Bundle) else bundle_folder(bundle)
    if folder is DEFAULT_BUNDLE and not DEFAULT_BUNDLE.is_dir():
        raise BundleError(
            f"expected the default bundle at {DEFAULT_BUNDLE}, found none: this inktex was "
            "installed without it; install it again, or name a bundle of your own"
        )
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(folder)
    running, model = choose(opened, runtime, precision, threads)
    return Recognizer(model, opened.manifest, running)


def choose(
    bundle: Bundle, runtime: str = "auto", precision: str = "auto", threads: int | None = None
) -> tuple[Running, StepModel[Any, Any]]:
    """The variant of a bundle that is fastest here, or that was named, and its model.

    Args:
        runtime, precision, threads: as `load` takes them.

    Raises:
        BundleError, RuntimeUnavailable: as `load`.
    """
    from ..core.errors import BundleError, RuntimeUnavailable
    from ..core.recognizer import Running

    runtime, _, provider = runtime.partition(":")
    options = {"provider": provider} if provider else {}
    if provider and runtime not in ("onnxruntime", "ort"):
        raise RuntimeUnavailable(
            f"expected a provider of onnxruntime or ort, found one of {runtime!r}: {provider}"
        )
    variants = [
        variant
        for variant in bundle.manifest.variants
        if runtime in ("auto", variant.target) and precision in ("auto", variant.precision)
    ]
    if not variants:
        bundle.variant(runtime, precision)  # says which there are
    installed = runtimes()

    def make(variant: Variant) -> StepModel[Any, Any]:
        load_model = installed[variant.target].load()
        model: StepModel[Any, Any] = load_model(bundle, variant, threads, **options)
        return model

    candidates = here = [variant for variant in variants if variant.target in installed]
    if precision == "auto" and len(here) > 1:
        from .choice import holds

        candidates = list(filter(holds, here)) or here
    why = (
        "there is no other to choose from"
        if len(variants) == 1
        else "the bundle's first that runs here"
    )
    if len(candidates) > 1:
        from .choice import fastest

        choice = fastest(bundle, candidates, threads, make, provider)
        if choice is not None:
            # the others stay, should it be gone since
            candidates.sort(key=lambda each: not choice.names(each))
            why = choice.why
    there = ", ".join(sorted(installed)) or "none"
    reasons = [
        f"{variant.target}: not among the runtimes installed ({there})"
        for variant in variants
        if variant not in here
    ]
    for variant in candidates:
        try:
            name = f"{variant.target}:{provider}" if provider else variant.target
            return Running(name, variant.precision, why), make(variant)
        except (BundleError, ImportError, RuntimeUnavailable) as error:
            if isinstance(error, BundleError) and len(candidates) == 1:
                raise
            reasons.append(f"{variant.target}: {error}")
            why = f"the next, since {reasons[-1]}"
    raise RuntimeUnavailable(
        f"{bundle.path}: no runtime here runs this bundle's variants: "
        + "; ".join(dict.fromkeys(reasons))
    )


def runtimes() -> dict[str, EntryPoint]:
    """The runtimes that are installed, by name."""
    from importlib.metadata import entry_points

    return {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
