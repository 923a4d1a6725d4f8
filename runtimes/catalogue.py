"""The runtimes that inktex knows, what they need, and whether it is here."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .processors import available_processors

_INSTRUCTIONS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8",  # x86
    "asimd", "asimddp", "i8mm", "bf16",  # Arm
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A runtime that inktex has an adapter for.

    Attributes:
        packages: any of which brings it, as `pip install` names them; the first is proposed.
        runs_on: what it is for.
    """

    name: str
    packages: tuple[str, ...]
    runs_on: str


KNOWN = (
    Known("onnxruntime", ("onnxruntime",), "any processor; comes with inktex"),
    Known("ort", ("onnxruntime",), "the same, from its own format: small builds for phones"),
    Known("openvino", ("openvino",), "processors of Intel, AMD and Arm"),
    Known("executorch", ("executorch",), "Android and iOS, here through its Python bindings"),
    Known("coreml", ("coremltools",), "iPhone, iPad and Mac; runs on macOS only"),
    Known("coreml18", ("coremltools",), "the same, with caches that stay inside; macOS 15, iOS 18"),
    Known(
        "tensorrt",
        ("tensorrt-rtx", "tensorrt"),
        "NVIDIA GPUs, and Jetson, where JetPack brings it; with polygraphy",
    ),
)


@dataclass(frozen=True)
class Status:
    """A runtime on this machine.

    Attributes:
        version: of its package, None where it is not installed.
        install: the command that brings it, "" where it is here.
    """

    name: str
    runs_on: str
    version: str | None
    install: str

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def statuses() -> list[Status]:
    """The known runtimes, then those of other projects."""
    from . import runtimes

    found = []
    for known in KNOWN:
        there = next(filter(None, map(_version, known.packages)), None)
        install = "" if there else f"pip install {known.packages[0]}"
        found.append(Status(known.name, known.runs_on, there, install))
    names = {known.name for known in KNOWN}
    for name, entry_point in sorted(runtimes().items()):
        if name not in names:
            project = entry_point.dist.name if entry_point.dist else entry_point.value
            number = entry_point.dist.version if entry_point.dist else None
            found.append(Status(name, f"brought by {project}", number, ""))
    return found


def _version(package: str) -> str | None:
    """Of a package that is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Machine:
    """What this machine offers.

    Attributes:
        processors: that this process may use.
        instructions: those that decide how fast a recognizer is, as Linux names them; none where
            it cannot be told.
        memory_gb: of the machine, None where it cannot be told.
    """

    system: str
    architecture: str
    processors: int
    instructions: tuple[str, ...]
    memory_gb: float | None

    @classmethod
    def present(cls, root: Path = Path("/")) -> Machine:
        """This one.

        Args:
            root: where `proc` is mounted; for tests.
        """
        try:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        except (AttributeError, ValueError, OSError):  # Windows
            memory = None
        return cls(
            platform.system(),
            platform.machine(),
            available_processors(),
            _instructions(root / "proc/cpuinfo"),
            None if memory is None else round(memory, 1),
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)


def _instructions(cpuinfo: Path) -> tuple[str, ...]:
    try:
        text = cpuinfo.read_text()
    except OSError:
        return ()
    flags: set[str] = set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags |= set(value.split())
    return tuple(each for each in _INSTRUCTIONS if each in flags)
