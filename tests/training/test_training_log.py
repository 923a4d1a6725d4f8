from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import pytest

from inktex.core.errors import DataError
from inktex.training.training_log import Report, TrainingLog, line, read_log


def report(step: int, exp_rate: float | None = None, **losses: float) -> Report:
    return Report(step, 2, 10.04 * step, 5e-4, losses or {"tokens": 1.23456}, exp_rate)


def test_rows_are_added_and_read(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    assert read_log(log.path) == []
    log.write(report(1))
    log.write(report(2, 12.345))
    log.close()
    assert (tmp_path / "log.csv").read_text().splitlines() == [
        "step,epoch,elapsed_s,rate,tokens,exp_rate",
        "1,2,10.0,0.0005,1.2346,",
        "2,2,20.1,0.0005,1.2346,12.35",
    ]
    rows = read_log(log.path)
    assert "exp_rate" not in rows[0]
    assert rows[1] == {
        **{"step": 2, "epoch": 2, "elapsed_s": 20.1, "rate": 0.0005},
        **{"tokens": 1.2346, "exp_rate": 12.35},
    }
    assert [each.name for each in tmp_path.iterdir()] == ["log.csv"]


def test_a_column_that_comes_later_is_added(tmp_path: Path) -> None:
    """The loss of held-out captions is known only where there is a validation."""
    log = TrainingLog(tmp_path)
    log.write(report(1))
    log.write(report(2))
    log.write(report(3, 50.0, tokens=1.0, validation=0.7))
    log.write(report(4, tokens=0.9))
    rows = read_log(log.path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row.get("validation") for row in rows] == [None, None, 0.7, None]
    assert log.path.read_text().splitlines()[0].endswith("tokens,validation,exp_rate")


def test_a_resumed_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for step in (1, 2, 3):
        log.write(report(step))
    with log.path.open("a") as file:
        file.write("4,2,40")  # the row in which it was killed
    resumed = TrainingLog(tmp_path, step=2)
    assert len(read_log(log.path)) == 3  # nothing is changed before there is something to write
    resumed.write(report(3, 40.0, tokens=1.0, symbols=0.5))
    resumed.write(report(4, None, tokens=0.9, symbols=0.4))
    rows = read_log(log.path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row.get("symbols") for row in rows] == [None, None, 0.5, 0.4]
    first = log.path.read_text().splitlines()[:2]
    assert first == [
        "step,epoch,elapsed_s,rate,tokens,symbols,exp_rate",
        "1,2,10,0.0005,1.2346,,",
    ]


def test_a_full_disk_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TrainingLog(tmp_path)
    log.write(report(1))
    before = log.path.read_text()

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(self: Path, *_: Any, **__: Any) -> Full:
        return Full()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(DataError, match=r"cannot be written .No space left on device"):
            log.write(report(2))
    assert log.path.read_text() == before


def test_tensorboard_is_written_where_it_is_wanted(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TrainingLog(tmp_path, tensorboard=True)
    log.write(report(1))
    log.write(report(2, 50.0))
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"rate", "tokens", "exp_rate"}
    assert [each.step for each in events.Scalars("tokens")] == [1, 2]
    assert [each.value for each in events.Scalars("exp_rate")] == [50.0]


def test_the_line_for_people() -> None:
    told = Report(120, 3, 600.0, 1e-3, {"tokens": 0.98765, "symbols": 2.0})
    assert line(told, 0.25) == ("step 120  epoch 3  25 %  30 min left  tokens 0.988  symbols 2.000")
    assert line(told._replace(exp_rate=54.77), 1.0).endswith("  validation ExpRate 54.8 %")
    assert "inf min left" in line(told, 0.0)
