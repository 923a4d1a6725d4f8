"""What a training tells of itself: a table, a line for people, and TensorBoard where wanted."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import DataError
from ..core.replacement import replacing

FILE = "log.csv"
"""A row for every report: what is known at it."""


class Report(NamedTuple):
    """How a training stands.

    step, epoch: so far
    elapsed_s: seconds trained, over all resumptions
    rate: the learning rate
    losses: parts of the objective by name, of the last batch
    exp_rate: ExpRate on the validation split in percent, where it was just measured
    """

    step: int
    epoch: int
    elapsed_s: float
    rate: float
    losses: Mapping[str, float]
    exp_rate: float | None = None


class TrainingLog:
    """The log of one training in its folder, over all resumptions.

    Args:
        folder: for `log.csv` and TensorBoard's own files; it exists.
        step: that the training goes on from; what a killed one logged after it is left out.
        tensorboard: whether to write for TensorBoard, too.

    Raises:
        ModuleNotFoundError: TensorBoard is wanted and not installed.
    """

    def __init__(self, folder: Path, step: int = 0, tensorboard: bool = False) -> None:
        self.path = folder / FILE
        self._columns: list[str] = []
        self._before = [row for row in read_log(self.path) if row["step"] <= step]
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, report: Report) -> None:
        """Add a row, and the same for TensorBoard.

        Raises:
            DataError: it cannot be written; what the log held stays.
        """
        row: dict[str, object] = {
            "step": report.step,
            "epoch": report.epoch,
            "elapsed_s": round(report.elapsed_s, 1),
            "rate": report.rate,
            **{name: round(value, 4) for name, value in report.losses.items()},
            "exp_rate": "" if report.exp_rate is None else round(report.exp_rate, 2),
        }
        try:
            if self._columns and row.keys() <= set(self._columns):
                with self.path.open("a", newline="") as file:
                    csv.DictWriter(file, self._columns).writerow(row)
            else:
                self._begin(row)
            if self._board is not None:
                self._chart(report)
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be written ({error.strerror or error}); make room on the "
                "disk, then go on from the last checkpoint with --resume"
            ) from error

    def close(self) -> None:
        """Nothing is written any more."""
        if self._board is not None:
            self._board.close()

    def _begin(self, row: Mapping[str, object]) -> None:
        """Write the log anew up to the row, which tells columns that there were not before."""
        if self._columns:
            self._before = read_log(self.path)
        names = [name for old in (*self._before, row) for name in old if name != "exp_rate"]
        self._columns = [*dict.fromkeys(names), "exp_rate"]
        with replacing(self.path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows([*map(_plain, self._before), row])

    def _chart(self, report: Report) -> None:
        values = {"rate": report.rate, **report.losses}
        if report.exp_rate is not None:
            values["exp_rate"] = report.exp_rate
        for name, value in values.items():
            self._board.add_scalar(name, value, report.step)
        self._board.flush()


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log, oldest first: the numbers by column, those that are known.

    There are none where there is no file; a row that a killed training left half-written is left
    out.
    """
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = []
    for line in lines:
        try:
            row = {name: float(text) for name, text in line.items() if text}
        except (TypeError, ValueError):
            continue
        if None not in line.values() and "step" in row:
            rows.append(row)
    return rows


def _plain(row: Mapping[str, float]) -> dict[str, object]:
    """Whole numbers without a point, as they were written."""
    return {name: int(value) if value.is_integer() else value for name, value in row.items()}


def line(report: Report, share: float) -> str:
    """A report for people.

    Args:
        share: of the budget that is used, 0..1.
    """
    left_s = report.elapsed_s * (1 / share - 1) if share else math.inf
    parts = [
        f"step {report.step}",
        f"epoch {report.epoch}",
        f"{100 * share:.0f} %",
        f"{left_s / 60:.0f} min left",
        *(f"{name} {value:.3f}" for name, value in report.losses.items()),
    ]
    if report.exp_rate is not None:
        parts.append(f"validation ExpRate {report.exp_rate:.1f} %")
    return "  ".join(parts)
