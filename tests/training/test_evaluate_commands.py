from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command_line import inktex
from .synthetic import bundle, checkpoint_file


def test_a_bundle_is_evaluated_as_its_users_read_it(
    inkset: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = bundle(tmp_path_factory).path
    greedy = inktex("evaluate", path, inkset, "--limit", "4", "--json")
    assert greedy.exit_code == 0, greedy.output
    assert json.loads(greedy.output)["count"] == 4
    readings = tmp_path / "readings.jsonl"
    result = inktex(
        "evaluate", path, inkset, "--limit", "3", "--beam", "2", "--no-grammar", "-o", readings
    )
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in readings.read_text().splitlines()]
    assert len(lines) == 3
    assert all(0 <= line["confidence"] <= 1 for line in lines)
    wrong = inktex("evaluate", path, inkset, "--precision", "int8")
    assert wrong.exit_code == 2
    assert "int8" in wrong.output


def test_images_are_not_for_checkpoints(tmp_path: Path) -> None:
    path = checkpoint_file(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"never looked at")
    (tmp_path / "captions.tsv").write_text("a\tx\n")
    arguments = ("evaluate", path, tmp_path / "images", "--captions", tmp_path / "captions.tsv")
    result = inktex(*arguments)
    assert result.exit_code == 2
    assert "export a bundle" in result.output
