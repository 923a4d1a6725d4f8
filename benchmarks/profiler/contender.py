"""Who takes part in a run: one way to read formulas, and what a reading of it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ..formulas import Formula

STAGES = ("read", "prepare", "encode", "step", "rescore", "adapter", "search")
"""Where the time of a reading goes: parsing the file; drawing at the recognizer's scale; the
encoder's graph; the decoder's graph, all steps; the graph that reads whole hypotheses, where there
is one (else rescoring makes steps); the runtime's adapter around them, which binds tensors and
gathers beams; the search, with grammar and LaTeX."""
IN_RUNTIME = ("encode", "step", "rescore")
"""The stages that are spent inside the runtime."""


@dataclass(frozen=True)
class Configuration:
    """What is measured.

    Attributes:
        system: "inktex", or the name of a peer.
        runtime, precision: of a bundle's variant, or of a peer.
        threads: of the runtime.
        beams: 1 is greedy.
    """

    system: str
    runtime: str
    precision: str
    threads: int
    beams: int

    @property
    def search(self) -> str:
        """To read: "greedy", "beam 5"."""
        return "greedy" if self.beams == 1 else f"beam {self.beams}"

    @property
    def parts(self) -> tuple[str, ...]:
        """All that it is, as words by which it can be named."""
        count = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (self.system, self.runtime, self.precision, count, self.search)

    @property
    def engine(self) -> str:
        """To read, without its search: "onnxruntime int8, 1 thread"."""
        system, runtime, precision, count, _ = self.parts
        name = f"{runtime} {precision}, {count}"
        return name if system == "inktex" else f"{system}, {name}"

    @property
    def label(self) -> str:
        """To read: "onnxruntime int8, 1 thread, greedy"."""
        return f"{self.engine}, {self.search}"


@dataclass(frozen=True)
class Reading:
    """One formula, read.

    Attributes:
        total_ms: of the wall clock, from the bytes of a file or strokes in memory to LaTeX.
        stages_ms: of `STAGES`, those that can be told.
        steps: of the decoder, 0 where it cannot be told.
        tokens: of the answer.
    """

    total_ms: float
    tokens: tuple[str, ...]
    steps: int = 0
    stages_ms: Mapping[str, float] = field(default_factory=dict)


Reader: TypeAlias = Callable[[Formula], Reading]
"""Reads a formula, against the clock."""


class Contender(Protocol):
    """One way to read formulas.

    Attributes:
        trained: whether its answers mean anything.
    """

    @property
    def configuration(self) -> Configuration:
        """What it is."""
        ...

    @property
    def trained(self) -> bool:
        """Whether its answers mean anything; weights may be random where only time counts."""
        ...

    def load(self) -> Reader:
        """Load it anew."""
        ...
