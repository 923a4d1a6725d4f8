"""How much memory reading takes, and whether it grows."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
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
from ..runtimes.choice import name_of
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
        name: "python", "imported", "loaded", then "pass 1", "pass 2", …
        now: None where the system does not tell.
        formulas: read so far.
    """

    name: str
    now: int | None
    peak: int
    formulas: int = 0


@dataclass(frozen=True)
class Memory:
    """One process: a variant with a beam.

    Attributes:
        loaded_ms: from the import of the libraries to the first formula.
    """

    variant: str
    beams: int
    loaded_ms: float
    stages: list[Stage]

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
        return {**asdict(self), "peak": self.peak, "growth": self.growth}


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
        write_files(formulas, folder, kind="inkml" if _is_ink(formulas) else "png")
        with (
            Progress(len(formulas) * passes * len(ways), "memory") as progress,
            ThreadPoolExecutor(workers) as pool,
        ):
            return list(
                pool.map(
                    lambda way: _probe(bundle, way[0], way[1], passes, folder, progress.advance),
                    ways,
                )
            )


def report_of(rows: Sequence[Memory]) -> str:
    """The rows as a Markdown table, and what N and k are."""
    passes = [stage for stage in rows[0].stages if stage.formulas]
    return f"N = {passes[0].formulas} formulas, k = {len(passes)} passes over them\n\n" + table(
        HEADER, [row.cells() for row in rows]
    )


def _probe(
    bundle: Bundle,
    variant: Variant,
    beams: int,
    passes: int,
    folder: Path,
    advance: Callable[[], None],
) -> Memory:
    command = [sys.executable, "-m", f"{__package__}.memory_probe"]
    arguments = [
        str(bundle.path),
        variant.target,
        variant.precision,
        str(beams),
        str(passes),
        str(folder),
    ]
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
                f"the process that reads with {name_of(variant)}, beam {beams}, ended with status "
                f"{process.returncode} and said: {said[-1]}"
            )
    if any(entry.get("refused", -1) == len(list(folder.iterdir())) for entry in found["stages"]):
        raise DataError("expected formulas that can be read, found none; see `inktex recognize`")
    return Memory(
        name_of(variant),
        beams,
        found["loaded_ms"],
        [
            Stage(entry["stage"], entry["now"], entry["peak"], entry.get("formulas", 0))
            for entry in found["stages"]
        ],
    )


def _is_ink(formulas: Sequence[Formula]) -> bool:
    return all(each.name.lower().endswith((".inkml", ".json")) for each in formulas)


def _mb(value: int | None) -> str:
    return "unknown" if value is None else f"{value / MB:.1f}"
