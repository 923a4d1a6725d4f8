"""How the commands of `inktex benchmark` begin and end; what is heavy is imported when needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..core.bundle import Bundle
    from ..core.manifest import Variant
    from ..core.recognizer import Running

_BUSY = 0.5


def begin(
    name: str, path: Path, json_file: Path | None, *, timed: bool = False
) -> tuple[Bundle, dict[str, Any]]:
    """The bundle, and the head of a report on it, which is printed."""
    from ..core.bundle import Bundle
    from ..runtimes import bundle_folder
    from .report import describe, heading

    report = head(name, json_file, timed=timed)
    bundle = Bundle.open(bundle_folder(path))
    report["bundle"] = describe(bundle)
    click.echo(f"{heading(report['environment'], report['bundle'])}\n")
    return bundle, report


def head(name: str, json_file: Path | None, *, timed: bool) -> dict[str, Any]:
    """The head of a report: what is measured, where and how."""
    from ..core.machine import command_line
    from ..core.replacement import check_writable
    from .report import environment

    if json_file is not None:
        check_writable(json_file, "--json")
    report: dict[str, Any] = {
        "benchmark": name,
        "command": command_line(),
        "environment": environment(),
    }
    load = report["environment"]["load_1m"]
    if timed and load is not None and load > _BUSY:
        click.echo(
            f"inktex: note: the machine is at work (load {load}); times will be too long", err=True
        )
    return report


def end(report: dict[str, Any], json_file: Path | None, **found: Any) -> None:
    """Write the report."""
    from .report import write_json

    if json_file is not None:
        write_json(json_file, {**report, **found})


def variants_of(bundle: Bundle, runtime: str, precisions: tuple[str, ...]) -> list[Variant]:
    """The variants to measure, in the order of `precisions_of`, then of the bundle.

    Args:
        runtime: one, or "all" for those that can run here; which cannot is told.

    Raises:
        BundleError: there is none of a runtime or of a precision.
        RuntimeUnavailable: nothing that was asked for can run here.
    """
    from ..core.errors import InktexError, RuntimeUnavailable
    from ..runtimes import choose

    found: list[Variant] = []
    wanted = precisions_of(bundle, precisions)
    if runtime != "all":
        bundle.variant(runtime)  # says which there are
    for precision in wanted:
        for variant in bundle.manifest.variants:
            if variant.precision != precision or runtime not in ("all", variant.target):
                continue
            try:
                choose(bundle, variant.target, precision, threads=1)
            except (ImportError, InktexError) as error:
                click.echo(f"inktex: left out: {variant.target} {precision}: {error}", err=True)
            else:
                found.append(variant)
    if not found:
        raise RuntimeUnavailable(f"{bundle.path}: nothing of what was asked for can run here")
    return found


def chosen_for(
    bundle: Bundle, precisions: tuple[str, ...], threads: int | None = None
) -> dict[str, Running]:
    """What runs each precision, as `inktex recognize` would choose here; it is told, since two
    precisions may be fastest on two runtimes."""
    from ..runtimes import choose

    chosen = {each: choose(bundle, precision=each, threads=threads)[0] for each in precisions}
    told = ", ".join(f"{each.precision} by {each.runtime}" for each in chosen.values())
    click.echo(f"- {told}\n")
    return chosen


def precisions_of(bundle: Bundle, asked: tuple[str, ...]) -> tuple[str, ...]:
    """The precisions to measure; of all, fp32 first, as the others are compared with the first."""
    from ..core.errors import BundleError

    there = dict.fromkeys(variant.precision for variant in bundle.manifest.variants)
    if asked == ("all",):
        return tuple(sorted(there, key=lambda each: each != "fp32"))
    for precision in asked:
        if precision not in there:
            raise BundleError(
                f"{bundle.path}: expected a variant {precision}, found {', '.join(there)}; name "
                "those you want with --precision"
            )
    return asked
