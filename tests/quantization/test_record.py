from __future__ import annotations

from pathlib import Path

import pytest

from inktex.quantization.record import Record


def test_a_finding_is_measured_once(tmp_path: Path) -> None:
    path = tmp_path / "state"
    measured: list[str] = []

    def measure(name: str) -> str:
        measured.append(name)
        return name

    first = Record(path, {"bundle": "a"})
    assert first.get("x", lambda: measure("x")) == "x"
    again = Record(path, {"bundle": "a"})
    assert again.count == 1
    assert again.get("x", lambda: measure("again")) == "x"
    assert measured == ["x"]
    again.get("y", lambda: "y")
    again.get("x 2", lambda: 2)
    assert again.those("x") == ["x", 2]
    assert again.get("x", lambda: "anew", lambda found: found != "x") == "anew"
    assert again.get("x", lambda: "no", lambda found: found != "x") == "anew"
    with pytest.raises(ZeroDivisionError):
        again.get("x", lambda: str(1 // 0), lambda found: found != "anew")
    assert again.those("x") == [2]  # what no longer holds is no finding
    other = Record(path, {"bundle": "b"})
    assert (other.count, other.others, again.others) == (0, 3, 0)
    again.remove()
    assert not path.exists()


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text('{"question": ')
    record = Record(path, {})
    assert record.get("x", lambda: 1) == 1
    assert Record(path, {}).count == 1
