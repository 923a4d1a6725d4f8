"""How much memory reading takes, and whether it grows."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ..core.bundle import Bundle
from ..core.errors import DataError, InktexError
from ..core.manifest import Variant
from ..core.progress import Progress
from .formulas import Formula, write_files
from .report import MB, table

HEADER = (
    "variant", "search", "loaded in ms", "imported MB", "loaded MB",
    "after N MB", "growth from N to kN MB", "peak MB",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """The memory of a process at some point, in bytes.

    Attributes:
        name: "python", "imported", "loaded", "first" and "second" formula, then "pass 1",
            "pass 2", …
        at_ms: since the process was started.
        now: None where the system does not tell.
        formulas: read so far, told of passes.
    """

    name: str
    at_ms: float
    now: int | None
    peak: int
    formulas: int = 0


@dataclass(frozen=True)
class Memory:
    """One process: a variant with a beam."""

    variant: str
    beams: int
    stages: list[Stage]

    @property
    def loaded_ms(self) -> float:
        """To load the bundle, the libraries being imported."""
        return self["loaded"].at_ms - self["imported"].at_ms

    @property
    def peak(self) -> int:
        """The most that the process ever held, in bytes."""
        return self.stages[-1].peak

    @property
    def growth(self) -> int | None:
        """Bytes more after the last pass than after the first, which read the same files."""
        first, last = (self["pass 1"].now, self.stages[-1].now)
        return None if first is None or last is None else last - first

    def __getitem__(self, name: str) -> Stage:
        """The stage of a name."""
        return next(stage for stage in self.stages if stage.name == name)

    def cells(self) -> list[str]:
        """The cells of the row, as `HEADER` names them."""
        moments = (self[name].now for name in ("imported", "loaded", "pass 1"))
        return [
            self.variant,
            "greedy" if self.beams == 1 else f"beam {self.beams}",
            f"{self.loaded_ms:.0f}",
            *(_mb(value) for value in (*moments, self.growth, self.peak)),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return {
            **asdict(self), "loaded_ms": self.loaded_ms, "peak": self.peak, "growth": self.growth
        }  # fmt: skip


def measure_memory(
    bundle: Bundle,
    formulas: Sequence[Formula],
    *,
    variants: Sequence[Variant],
    beams: Sequence[int],
    passes: int = 4,
    workers: int = 1,
) -> list[Memory]:
    """Read all formulas `passes` times in a fresh process for each variant and beam.

    The processes use one thread each, and read files, as a user's process does. The first pass has
    met every formula; what later passes add is growth.

    Args:
        workers: processes at the same time; memory, unlike time, is the same in company.

    Raises:
        DataError: not one formula could be read.
        InktexError: a process failed.
    """
    ways = list(product(variants, beams))
    with tempfile.TemporaryDirectory(prefix="inktex-") as place:
        folder = Path(place)
        write_files(formulas, folder, kind="inkml" if is_ink(formulas) else "png")
        with (
            Progress(len(formulas) * passes * len(ways), "memory") as progress,
            ThreadPoolExecutor(workers) as pool,
        ):
            return list(
                pool.map(
                    lambda way: probe(
                        bundle,
                        way[0].target,
                        way[0].precision,
                        way[1],
                        folder,
                        passes=passes,
                        advance=progress.advance,
                    ),
                    ways,
                )
            )


def report_of(rows: Sequence[Memory]) -> str:
    """The rows as a Markdown table, and what N and k are."""
    passes = [stage for stage in rows[0].stages if stage.formulas]
    return f"N = {passes[0].formulas} formulas, k = {len(passes)} passes over them\n\n" + table(
        HEADER, [row.cells() for row in rows]
    )


def probe(
    bundle: Bundle,
    runtime: str,
    precision: str,
    beams: int,
    folder: Path,
    *,
    threads: int = 1,
    passes: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Memory:
    """A fresh process that reads all files of a folder `passes` times.

    Args:
        advance: called for each file that was read.

    Raises:
        DataError: not one file could be read.
        InktexError: the process failed.
    """
    name = f"{runtime} {precision}"
    command = [sys.executable, "-m", f"{__package__}.memory_probe"]
    settings = (bundle.path, runtime, precision, beams, threads, passes, time.time(), folder)
    arguments = [str(each) for each in settings]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        found: dict[str, Any] = {}
        for line in process.stdout:
            found = json.loads(line)
            if "read" in found:
                advance()
        if process.wait() or "stages" not in found:
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["nothing"]
            raise InktexError(
                f"the process that reads with {name}, beam {beams}, ended with status "
                f"{process.returncode} and said: {said[-1]}"
            )
    if any(entry.get("refused", -1) == len(list(folder.iterdir())) for entry in found["stages"]):
        raise DataError("expected formulas that can be read, found none; see `inktex recognize`")
    return Memory(
        name,
        beams,
        [
            Stage(
                entry["stage"],
                entry["at_ms"],
                entry["now"],
                entry["peak"],
                entry.get("formulas", 0),
            )
            for entry in found["stages"]
        ],
    )


def is_ink(formulas: Sequence[Formula]) -> bool:
    """Whether they can be written as InkML."""
    return all(each.name.lower().endswith((".inkml", ".json")) for each in formulas)


def _mb(value: int | None) -> str:
    return "unknown" if value is None else f"{value / MB:.1f}"
