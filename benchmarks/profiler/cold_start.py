"""What a fresh process waits for, and how much memory it comes to hold."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ...core.bundle import Bundle
from ...core.progress import Progress
from ..formulas import Formula, write_files
from ..memory import Memory, is_ink, probe
from .contender import Configuration
from .noise import Interval, of_repeats


@dataclass(frozen=True)
class ColdStart:
    """Fresh processes of one configuration, which read the same formulas as files.

    Times are medians of the processes, in milliseconds.

    Attributes:
        python_ms: until Python runs.
        import_ms: to import numpy, pillow, the runtime's library and inktex.
        load_ms: to open and check the bundle and load its graphs.
        first_ms, second_ms: the first formula and the second.
        answer_ms: from the start of the process to the first answer.
        loaded_bytes, peak_bytes: of memory (RSS) when loaded, and the most until all was read;
            None where the system does not tell.
    """

    label: str
    processes: int
    python_ms: float
    import_ms: float
    load_ms: float
    first_ms: float
    second_ms: float | None
    answer_ms: Interval
    loaded_bytes: int | None
    peak_bytes: int


def measure_cold_starts(
    bundle: Bundle,
    configurations: Sequence[Configuration],
    formulas: Sequence[Formula],
    processes: int,
) -> tuple[list[ColdStart], bool]:
    """Start processes one after the other, the configurations taking turns. Ctrl-C ends that; the
    processes that had ended are kept.

    Returns:
        What was found, and whether it was stopped.

    Raises:
        InktexError: a process failed.
    """
    found: list[list[Memory]] = [[] for _ in configurations]
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="inktex-") as place:
        folder = Path(place)
        write_files(formulas, folder, kind="inkml" if is_ink(formulas) else "png")
        try:
            with Progress(processes * len(configurations), "cold starts") as progress:
                for _ in range(processes):
                    for own, each in zip(found, configurations, strict=True):
                        own.append(
                            probe(
                                bundle,
                                each.runtime,
                                each.precision,
                                each.beams,
                                folder,
                                threads=each.threads,
                            )
                        )
                        progress.advance()
        except KeyboardInterrupt:
            interrupted = True
    both = zip(configurations, found, strict=True)
    return [_summary(each.label, own) for each, own in both if own], interrupted


def _summary(label: str, processes: Sequence[Memory]) -> ColdStart:
    def between(one: str, other: str) -> float:
        return median(each[other].at_ms - each[one].at_ms for each in processes)

    several = any(stage.name == "second" for stage in processes[0].stages)
    answers = [each["first"].at_ms for each in processes]
    loaded = [now for each in processes if (now := each["loaded"].now) is not None]
    return ColdStart(
        label=label,
        processes=len(processes),
        python_ms=median(each["python"].at_ms for each in processes),
        import_ms=between("python", "imported"),
        load_ms=between("imported", "loaded"),
        first_ms=between("loaded", "first"),
        second_ms=between("first", "second") if several else None,
        answer_ms=of_repeats(answers, median(answers)),
        loaded_bytes=round(median(loaded)) if loaded else None,
        peak_bytes=max(each.peak for each in processes),
    )
