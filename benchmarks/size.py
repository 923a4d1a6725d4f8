"""How large a bundle is, and how much an installation takes on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..core.bundle import MANIFEST, Bundle
from ..core.errors import InktexError
from .report import MB, table


@dataclass(frozen=True)
class BundleSize:
    """Bytes of a bundle's files.

    Attributes:
        files: by name, the manifest included.
        alone: by variant ("onnxruntime int8"), what a bundle with this variant alone would take.
    """

    files: dict[str, int]
    alone: dict[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.files.values())

    def __str__(self) -> str:
        rows = [(name, f"{size / MB:.2f}") for name, size in self.files.items()]
        rows.append(("all", f"{self.total / MB:.2f}"))
        if len(self.alone) > 1:
            rows += [
                (f"with {name} alone", f"{size / MB:.2f}") for name, size in self.alone.items()
            ]
        return table(("bundle", "MB"), rows)

    def to_dict(self) -> dict[str, Any]:
        """The sizes, ready for JSON."""
        return {**asdict(self), "total": self.total}


@dataclass(frozen=True)
class InstallSize:
    """Bytes that an installation takes, Python and pip not counted.

    Attributes:
        source: what was installed.
        packages: bytes by top-level folder or file, as in site-packages, largest first.
        total: all of it, scripts and compiled bytecode included.
    """

    source: str
    packages: dict[str, int]
    total: int

    def __str__(self) -> str:
        shown = [(name, size) for name, size in self.packages.items() if size >= MB]
        rows = [(name, f"{size / MB:.1f}") for name, size in shown]
        rest = self.total - sum(size for _, size in shown)
        rows += [("the rest", f"{rest / MB:.1f}"), ("all", f"{self.total / MB:.1f}")]
        return table((f"installed: {self.source}", "MB"), rows)

    def to_dict(self) -> dict[str, Any]:
        """The sizes, ready for JSON."""
        return asdict(self)


def bundle_size(bundle: Bundle) -> BundleSize:
    """The size of a bundle, file by file and variant by variant."""
    manifest = bundle.manifest
    files = {MANIFEST: (bundle.path / MANIFEST).stat().st_size}
    files |= {name: record.size for name, record in sorted(manifest.files.items())}
    graphs = [set(each.graphs.values()) for each in manifest.variants]
    alone = {}
    for variant, own in zip(manifest.variants, graphs, strict=True):
        others = {name for each in graphs for name in each} - own
        # a graph may be a folder of files
        kept = (
            size
            for name, size in files.items()
            if not any(name == other or name.startswith(f"{other}/") for other in others)
        )
        alone[f"{variant.target} {variant.precision}"] = sum(kept)
    return BundleSize(files, alone)


def install_size(source: str) -> InstallSize:
    """Install `source`, with all that it needs, into an empty folder, and weigh what is there.

    Whatever is installed already is installed again, as on a fresh machine.

    Args:
        source: what `pip install` takes: a wheel, a checkout, a name. What it needs is fetched
            from the network.

    Raises:
        InktexError: the installation failed.
    """
    with tempfile.TemporaryDirectory(prefix="inktex-") as place:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", place, source]
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["nothing"]
            raise InktexError(f"`pip install {source}` failed: {said[-1]}")
        packages: Counter[str] = Counter()
        for path in Path(place).rglob("*"):
            if path.is_file() and not path.is_symlink():
                packages[path.relative_to(place).parts[0]] += path.stat().st_size
    return InstallSize(source, dict(packages.most_common()), packages.total())
