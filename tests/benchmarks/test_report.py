from __future__ import annotations

import doctest
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

from inktex.benchmarks import report as module
from inktex.benchmarks.report import describe, environment, heading, write_json
from inktex.core.bundle import Bundle


def test_the_facts_are_those_of_this_machine() -> None:
    facts = environment()
    assert facts["python"] == platform.python_version()
    assert facts["cpu"]
    assert facts["processors"] >= 1
    for package in ("inktex", "onnxruntime", "numpy", "pillow"):
        assert facts[package] == version(package)
    json.dumps(facts)


def test_the_heading_tells_them_and_the_bundle(tiny_bundle: Bundle) -> None:
    facts, bundle = environment(), describe(tiny_bundle)
    digest = hashlib.sha256((tiny_bundle.path / "manifest.json").read_bytes()).hexdigest()
    assert bundle["manifest_sha256"] == digest
    text = heading(facts, bundle)
    assert f"onnxruntime {version('onnxruntime')}" in text
    assert digest[:12] in text
    assert "onnxruntime int8, onnxruntime fp32" in text
    json.dumps(bundle)


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert module._commit(tmp_path) is None


def test_a_report_replaces_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json(file, {"old": 1})
    write_json(file, {"≤ 1": 2})
    assert json.loads(file.read_text(encoding="utf-8")) == {"≤ 1": 2}
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(module).failed == 0
