from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "01-square.inkml"


def run(code: str, home: Path, **environment: str) -> str:
    """What a process writes that has this home, and has not been told of telemetry."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI")
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "HOME": str(home), "INKTEX_CACHE": str(home / "ours"), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def left_in(home: Path) -> list[str]:
    return [str(each.relative_to(home)) for each in home.rglob("*") if each.is_file()]


def test_a_reading_leaves_nothing_in_the_users_home(tmp_path: Path) -> None:
    code = f"import inktex.runtimes as r; print(r.load(threads=1)({str(EXAMPLE)!r}).latex)"
    assert run(code, tmp_path) == "x^{2}"
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("package", ["runtimes", "export", "quantization", "benchmarks"])
def test_whatever_imports_a_runtime_has_it_silent(package: str, tmp_path: Path) -> None:
    code = (
        f"import sys, inktex.{package}, os;"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], sys.modules['openvino_telemetry'])"
    )
    assert run(code, tmp_path) == "1 None"


@pytest.mark.parametrize("module", ["openvino", "nncf"])
def test_openvino_is_imported_without_telling(module: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    run(f"import inktex.runtimes, {module}", tmp_path)
    assert left_in(tmp_path) == []


def test_who_has_decided_otherwise_is_left_alone(tmp_path: Path) -> None:
    code = "import inktex.runtimes, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(code, tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"
    code = (
        "import sys, types; sys.modules['openvino_telemetry'] = types.ModuleType('theirs');"
        "import inktex.runtimes; print(sys.modules['openvino_telemetry'].__name__)"
    )
    assert run(code, tmp_path) == "theirs"
