from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from inktex.benchmarks.formulas import Formula, write_files
from inktex.core.bundle import Bundle

LIGHT = """
import sys, inktex.benchmarks.commands
print({"numpy", "PIL", "onnxruntime", "torch"} & set(sys.modules))
"""

# As on a device: torch is made to look absent.
DEVICE = """
import importlib, pkgutil, sys

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "safetensors", "onnx", "onnxscript"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent)
package = importlib.import_module("inktex.benchmarks")
for found in pkgutil.walk_packages(package.__path__, "inktex.benchmarks."):
    importlib.import_module(found.name)
    print(found.name)
"""


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_module_is_light() -> None:
    assert run_python(LIGHT) == "set()\n"


def test_a_device_can_measure_itself() -> None:
    assert "inktex.benchmarks.accuracy" in run_python(DEVICE).splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_the_others_write_what_they_print(
    tiny_bundle: Bundle,
    formulas: list[Formula],
    tmp_path: Path,
    inktex: Callable[..., Result],
) -> None:
    (tmp_path / "files").mkdir()
    [file] = write_files(formulas[:1], tmp_path / "files")
    report = tmp_path / "report.json"
    for name, arguments, row in (
        (
            "memory",
            (file, "--passes", 1, "--beam", 1, "--precision", "fp32"),
            "| onnxruntime fp32 | greedy |",
        ),
        ("start", (file, "--runs", 1, "--precision", "int8"), "| inktex recognize, int8 |"),
        ("throughput", (file, "--files", 2, "--precision", "int8"), "| 2 | 2 |"),
        ("size", (), "| manifest.json |"),
    ):
        done = inktex("benchmark", name, tiny_bundle.path, *arguments, "--json", report)
        assert done.exit_code == 0, (name, done.stderr)
        assert row in done.stdout, name
        written = json.loads(report.read_text())
        assert written["benchmark"] == name
        if name in ("start", "throughput"):
            assert written["runtimes"] == {"int8": "onnxruntime int8"}
            assert "- int8 by onnxruntime" in done.stdout
        assert written["bundle"]["manifest_sha256"][:12] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("memory", "BUNDLE", "x.json", "--beam", "0"), "whole numbers > 0"),
        (("memory", "BUNDLE", "x.json", "--beam", "1,,5"), "whole numbers > 0"),
        (("memory", "BUNDLE", "x.json", "--precision", "fp32,"), "names between commas"),
        (("memory", "BUNDLE", "x.json", "--precision", "fp64"), "found int8, fp32"),
        (("memory", "BUNDLE", "x.json", "--runtime", "openvino"), "found only onnxruntime int8"),
        (("throughput", "BUNDLE", "x.json", "--precision", "fp64"), "found int8, fp32"),
        (("memory", "BUNDLE", "nowhere"), "at nowhere, found none"),
        (("memory", "nowhere", "x.json"), "nowhere: expected a bundle"),
        (("size", "BUNDLE", "--json", "nowhere/x.json"), "an existing folder"),
        (("accuracy", "BUNDLE", "--data", "nowhere"), "name the folder that holds crohme/"),
        (("accuracy", "BUNDLE", "--data", ".", "--from", "photos"), "expected ink or bitmaps"),
    ],
)
def test_wrong_usage_is_status_2(
    tiny_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inktex: Callable[..., Result],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_text("[[[0, 0], [10, 10]]]")
    done = inktex(
        "benchmark", *(tiny_bundle.path if each == "BUNDLE" else each for each in arguments)
    )
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
