from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from inktex.benchmarks.size import bundle_size, install_size
from inktex.core.bundle import Bundle
from inktex.core.errors import InktexError


def test_the_bundle_is_all_its_files(tiny_bundle: Bundle) -> None:
    size = bundle_size(tiny_bundle)
    on_disk = {each.name: each.stat().st_size for each in tiny_bundle.path.iterdir()}
    assert size.files == on_disk
    assert size.total == sum(on_disk.values())
    without_int8 = size.total - on_disk["encoder.int8.onnx"] - on_disk["step.int8.onnx"]
    assert size.alone["onnxruntime fp32"] == without_int8
    assert size.to_dict()["total"] == size.total


def test_an_installation_is_what_came_with_it(tmp_path: Path) -> None:
    wheel = tmp_path / "ballast-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ballast/data.bin", b"x" * 2_000_000)
        archive.writestr(
            "ballast-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: ballast\nVersion: 1\n"
        )
        archive.writestr(
            "ballast-1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("ballast-1.dist-info/RECORD", "")
    size = install_size(str(wheel))
    assert size.packages["ballast"] == 2_000_000
    assert set(size.packages) == {"ballast", "ballast-1.dist-info"}
    assert 2_000_000 < size.total < 2_010_000
    assert "| ballast | 2.0 |" in str(size)


def test_an_installation_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(InktexError, match="pip install"):
        install_size(str(tmp_path / "nowhere-1-py3-none-any.whl"))
