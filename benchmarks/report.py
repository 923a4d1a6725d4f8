"""What stands beside every number: the machine, the versions, the commit, the bundle."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..core.bundle import MANIFEST, Bundle
from ..core.machine import processor_name, said
from ..core.replacement import replacing
from ..runtimes.catalogue import Machine

MB = 1e6
"""Bytes; as everywhere here, a megabyte is a million of them."""


def environment() -> dict[str, Any]:
    """The machine and the software, as facts for a report, ready for JSON.

    Returns:
        cpu, instructions (that decide the speed), processors (that this process may use),
        memory_gb, system, python, the versions of packages, the commit (with a + where files
        were changed), the load of the machine before the measurement, and the date.
    """
    machine = Machine.present()
    facts: dict[str, Any] = {
        "cpu": processor_name(),
        "instructions": list(machine.instructions),
        "processors": machine.processors,
        "memory_gb": machine.memory_gb,
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    for package in ("inktex", "onnxruntime", "numpy", "pillow"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    facts["commit"] = _commit(Path(__file__).parent)
    facts["load_1m"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    facts["date"] = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return facts


def describe(bundle: Bundle) -> dict[str, Any]:
    """Which bundle was measured: its path, the hash of its manifest, its variants."""
    manifest = (bundle.path / MANIFEST).read_bytes()
    return {
        "path": str(bundle.path),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "variants": [f"{each.target} {each.precision}" for each in bundle.manifest.variants],
        "provenance": bundle.manifest.provenance,
    }


def heading(facts: dict[str, Any], bundle: dict[str, Any] | None = None) -> str:
    """The facts as a list in Markdown."""
    return "\n".join(f"- {line}" for line in lines_of(facts, bundle))


def lines_of(facts: dict[str, Any], bundle: dict[str, Any] | None = None) -> list[str]:
    """The facts, a line each."""
    versions = ", ".join(
        f"{name} {facts[name]}" for name in ("inktex", "onnxruntime", "numpy", "pillow")
    )
    lines = [
        f"{facts['date']}, commit {facts['commit'] or 'unknown'}, load {facts['load_1m']}",
        f"{facts['cpu']} ({', '.join(facts['instructions']) or 'instructions unknown'}), "
        f"{facts['processors']} processors to use, {facts['memory_gb']} GB; {facts['system']}",
        f"Python {facts['python']}, {versions}",
    ]
    if bundle is not None:
        lines.append(
            f"bundle {bundle['path']} (manifest {bundle['manifest_sha256'][:12]}): "
            + ", ".join(bundle["variants"])
        )
    return lines


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [[1, "x"]]))
    | a | b |
    |---|---|
    | 1 | x |
    """
    lines = [row_of(header), "|" + "---|" * len(header)]
    return "\n".join([*lines, *(row_of(row) for row in rows)])


def row_of(cells: Iterable[object]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def write_json(path: Path, content: Any) -> None:
    """Write `content`; an existing file is replaced only when all is written."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _commit(folder: Path) -> str | None:
    """The commit of the checkout that this code runs from; None outside one."""
    commit = said("git", "-C", str(folder), "rev-parse", "--short", "HEAD")
    if not commit:
        return None
    tracked = said("git", "-C", str(folder), "ls-files", "--error-unmatch", Path(__file__).name)
    if not tracked:  # installed somewhere below another project's checkout
        return None
    changed = said("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return commit + ("+" if changed else "")
