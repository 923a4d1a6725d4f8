"""How long a user waits for the first answer of a fresh process."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from ..core.bundle import Bundle
from ..core.errors import DataError
from ..core.progress import Progress
from .report import table

HEADER = ("process", "median ms", "least ms", "most ms", "first run ms")


@dataclass(frozen=True)
class Start:
    """One kind of process, started several times.

    Attributes:
        name: what it does.
        runs_ms: milliseconds from its start to its first line of output, in order; where it has
            none, to its end.
    """

    name: str
    runs_ms: list[float]

    def cells(self) -> list[str]:
        """The cells of the row, as `HEADER` names them."""
        values = (median(self.runs_ms), min(self.runs_ms), max(self.runs_ms), self.runs_ms[0])
        return [self.name, *(f"{value:.0f}" for value in values)]


@dataclass(frozen=True)
class StartReport:
    """All of a measurement."""

    rows: list[Start]
    answer: str

    def __str__(self) -> str:
        return f"{table(HEADER, [row.cells() for row in self.rows])}\n\nanswer: {self.answer}"

    def to_dict(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        return asdict(self)


def measure_start(
    bundle: Bundle,
    file: Path,
    *,
    precisions: Sequence[str],
    beam: int | None = None,
    threads: int | None = None,
    runs: int = 11,
) -> StartReport:
    """Start `inktex recognize FILE` again and again, for each precision in turn.

    Beside it, for comparison, Python that does nothing, and Python that imports the libraries
    which inktex stands on.

    Raises:
        DataError: the file cannot be read.
    """
    options = ["--bundle", str(bundle.path)]
    options += [] if beam is None else ["--beam", str(beam)]
    options += [] if threads is None else ["--threads", str(threads)]
    libraries = "import click, numpy, PIL.Image, onnxruntime"
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "python, its libraries": [sys.executable, "-c", libraries],
    }
    for precision in precisions:
        recognize = ["recognize", str(file), *options, "--precision", precision]
        commands[f"inktex recognize, {precision}"] = [*inktex_command(), *recognize]
    times: dict[str, list[float]] = {name: [] for name in commands}
    answer = ""
    with Progress(runs * len(commands), "start") as progress:
        for _ in range(runs):
            for name, command in commands.items():
                time_ms, line = _first_line(command)
                times[name].append(time_ms)
                answer = line or answer
                progress.advance()
    return StartReport([Start(name, runs_ms) for name, runs_ms in times.items()], answer.strip())


def inktex_command() -> list[str]:
    """`inktex` as this environment has it, so that it starts as a user starts it."""
    folder = Path(sysconfig.get_path("scripts"))
    for name in ("inktex", "inktex.exe"):
        if (folder / name).is_file():
            return [str(folder / name)]
    return [sys.executable, "-m", "inktex.core.cli"]


def _first_line(command: Sequence[str]) -> tuple[float, str]:
    """Milliseconds to the first line of a process, and the line."""
    with tempfile.TemporaryFile("w+") as errors:
        began = perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            answered = perf_counter()
            process.stdout.read()
        if process.returncode:
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["nothing"]
            raise DataError(
                f"`{' '.join(command)}` ended with status {process.returncode}: {said[-1]}"
            )
    return 1e3 * (answered - began), line
