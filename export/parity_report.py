"""What a proof says: differences, agreement, and whether both are within what is accepted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ExportError
from ..core.manifest import Variant
from ..runtimes.graph_model import Arrays


@dataclass(frozen=True)
class Tolerance:
    """What is accepted of a precision.

    Attributes:
        max_abs: greatest difference in any output; None where any finite one will do.
        agreement: least share of whole decoded sequences that are equal.
    """

    max_abs: float | None
    agreement: float


TOLERANCES = {
    "fp32": Tolerance(2e-3, 0.99),
    "fp16": Tolerance(0.5, 0.95),
    "int8": Tolerance(None, 0.85),
    "int8-nncf": Tolerance(None, 0.85),
    "int8-arm": Tolerance(None, 0.85),
    "dynamic8": Tolerance(None, 0.85),
    "weights8": Tolerance(None, 0.85),
    "palette6": Tolerance(None, 0.85),
    "weights4": Tolerance(None, 0.5),
    "palette4": Tolerance(None, 0.5),
}


def tolerance_of(variant: Variant) -> Tolerance:
    """What is accepted of a variant.

    Raises:
        ExportError: its precision is none that is known.
    """
    if variant.precision not in TOLERANCES:
        raise ExportError(
            f"expected a variant of {', '.join(TOLERANCES)}, found {variant.target} "
            f"{variant.precision}, of which nobody knows how exact it has to be; upgrade with "
            "`pip install --upgrade inktex`"
        )
    return TOLERANCES[variant.precision]


@dataclass(frozen=True)
class TensorError:
    """How far one output is from its reference, over all that was compared."""

    name: str
    max_abs: float
    mean_abs: float


class Differences:
    """What outputs differ by from their references, by their names, as comparisons come in."""

    def __init__(self) -> None:
        self._found: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, name: str, found: NDArray[Any], reference: NDArray[Any]) -> None:
        if found.shape == reference.shape:
            difference = np.abs(found.astype(np.float64) - reference.astype(np.float64)).ravel()
        else:
            difference = np.array([np.inf])
        self._found.setdefault(name, []).append(difference)

    def add_all(self, found: Arrays, reference: Sequence[NDArray[Any]]) -> None:
        for (name, array), other in zip(found.items(), reference, strict=True):
            self.add(name, array, other)

    def summary(self) -> tuple[TensorError, ...]:
        return tuple(
            TensorError(
                name,
                float(np.concatenate(parts).max()),  # NaN where there is one, unlike `max`
                float(np.concatenate(parts).mean()),
            )
            for name, parts in self._found.items()
        )


@dataclass(frozen=True)
class Agreement:
    """How far formulas were decoded alike.

    Attributes:
        sequences, equal: formulas decoded by both, and how many came out equal.
        tokens, forced: tokens of the references, and how many the variant too thinks likeliest
            after the reference's tokens before them (teacher forcing).
        prefix: the tokens, of all references, before the first that the variant wrote otherwise.
    """

    sequences: int = 0
    equal: int = 0
    tokens: int = 0
    forced: int = 0
    prefix: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @classmethod
    def of(
        cls, written: Sequence[int], reference: Sequence[int], forced: Sequence[int]
    ) -> Agreement:
        """That of one formula.

        Args:
            written: what the variant wrote, without its end.
            reference: what torch wrote, likewise.
            forced: what the variant thought likeliest after each of torch's tokens but the last,
                and after `<sos>`.
        """
        prefix = 0
        for mine, other in zip(written, reference, strict=False):
            if mine != other:
                break
            prefix += 1
        alike = sum(a == b for a, b in zip(forced, reference, strict=True))
        return cls(1, int(list(written) == list(reference)), len(reference), alike, prefix)


@dataclass(frozen=True)
class ParityReport:
    """The proof for one variant.

    Attributes:
        variant: its target and precision, and what ran it where that is not its own runtime.
        reference: what it was compared with.
        tensors: an entry for each output of the graphs.
        agreement: of the formulas that both decoded.
    """

    variant: str
    reference: str
    tensors: tuple[TensorError, ...]
    agreement: Agreement
    tolerance: Tolerance

    @property
    def passed(self) -> bool:
        limit = sys.float_info.max if self.tolerance.max_abs is None else self.tolerance.max_abs
        close = all(each.max_abs <= limit for each in self.tensors)  # which NaN is not
        agreed = self.agreement.equal >= self.tolerance.agreement * self.agreement.sequences
        return close and agreed

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {**asdict(self), "passed": self.passed}

    def __str__(self) -> str:
        tolerance, found = self.tolerance, self.agreement
        limit = "finite" if tolerance.max_abs is None else f"at most {tolerance.max_abs:g}"
        lines = [f"{self.variant}, against {self.reference}:"]
        lines += [
            f"  {each.name:<19} max {each.max_abs:.1e}  mean {each.mean_abs:.1e}  ({limit})"
            for each in self.tensors
        ]
        if found.sequences:
            tokens = max(found.tokens, 1)
            lines.append(
                f"  {found.equal} of {found.sequences} sequences equal (at least "
                f"{100 * tolerance.agreement:g} %); {100 * found.prefix / tokens:.1f} % of the "
                f"tokens before the first difference, {100 * found.forced / tokens:.1f} % equal "
                "after the right ones"
            )
        lines.append(f"  {'passed' if self.passed else 'FAILED'}")
        return "\n".join(lines)
