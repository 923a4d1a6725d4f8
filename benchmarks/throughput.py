"""How many formulas a second `inktex recognize` reads from a folder, and in how much memory."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ..core.bundle import Bundle
from ..core.errors import InktexError, RuntimeUnavailable
from ..core.progress import Progress
from .formulas import Formula, write_files
from .report import MB, table
from .resident import resident
from .start import inktex_command

HEADER = (
    "files", "read", "seconds", "formulas a second",
    "peak MB after a quarter", "peak MB after all",
)  # fmt: skip


@dataclass(frozen=True)
class Throughput:
    """A folder, read.

    Attributes:
        files: in the folder.
        lines: of the answer, one for each file that could be read.
        seconds: from the start of the process to its last line.
        quarter_peak, peak: most bytes of memory until a quarter of the lines and until the last
            were there; None where the system does not tell.
    """

    files: int
    lines: int
    seconds: float
    quarter_peak: int | None
    peak: int | None

    @property
    def per_second(self) -> float:
        """Formulas that were read for each second."""
        return self.lines / self.seconds

    def __str__(self) -> str:
        peaks = (
            "unknown" if value is None else f"{value / MB:.1f}"
            for value in (self.quarter_peak, self.peak)
        )
        row = [self.files, self.lines, f"{self.seconds:.1f}", f"{self.per_second:.1f}", *peaks]
        return table(HEADER, [row])

    def to_dict(self) -> dict[str, Any]:
        """The result, ready for JSON."""
        return {**asdict(self), "per_second": self.per_second}


def measure_throughput(
    bundle: Bundle,
    formulas: Sequence[Formula],
    *,
    files: int = 1000,
    kind: str = "inkml",
    precision: str = "auto",
    beam: int | None = None,
    threads: int | None = None,
) -> Throughput:
    """Write files, run `inktex recognize FOLDER`, and watch it.

    Args:
        files: how many to write; the formulas come again in turn where they are fewer.
        kind: "inkml" or "png", see `write_files`.
        threads: by default as many as the process may use.

    Raises:
        InktexError: the command failed, or left out a file without saying so.
    """
    options = ["--bundle", str(bundle.path), "--precision", precision]
    options += [] if beam is None else ["--beam", str(beam)]
    options += [] if threads is None else ["--threads", str(threads)]
    with (
        tempfile.TemporaryDirectory(prefix="inktex-") as place,
        tempfile.TemporaryFile("w+") as errors,
        Progress(files, "throughput") as progress,
    ):
        write_files(formulas, Path(place), files, kind)
        command = [*inktex_command(), "recognize", place, *options]
        lines = 0
        quarter_peak = peak = None
        began = ended = perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8"
        ) as process:
            assert process.stdout is not None
            for _ in process.stdout:
                lines += 1
                ended = perf_counter()
                # at every line, as after the last the process may be gone
                peak = _peak(process.pid) or peak
                if lines <= max(files // 4, 1):
                    quarter_peak = peak
                progress.advance()
        errors.seek(0)
        refused = [line for line in errors if line.startswith("inktex: error: ")]
        if process.returncode not in (0, 1) or lines + len(refused) != files:
            raise InktexError(
                f"expected {files} files read or refused, found {lines} and {len(refused)}, and "
                f"status {process.returncode}: {(refused or ['nothing was said'])[-1].strip()}"
            )
    if not lines:
        raise InktexError(f"expected files that can be read, found none: {refused[-1].strip()}")
    return Throughput(files, lines, ended - began, quarter_peak, peak)


def _peak(process: int) -> int | None:
    try:
        return resident(process).peak
    except (RuntimeUnavailable, ProcessLookupError):
        return None
