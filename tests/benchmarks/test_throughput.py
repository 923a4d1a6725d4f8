from __future__ import annotations

import json

import pytest

from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.throughput import measure_throughput
from inktex.core.bundle import Bundle
from inktex.core.errors import InktexError


@pytest.mark.parametrize("kind", ["inkml", "png"])
def test_every_file_is_read(tiny_bundle: Bundle, formulas: list[Formula], kind: str) -> None:
    result = measure_throughput(tiny_bundle, formulas, files=12, kind=kind, beam=1)
    assert (result.files, result.lines) == (12, 12)
    assert result.per_second == pytest.approx(12 / result.seconds)
    json.dumps(result.to_dict())


def test_files_that_are_refused_are_counted_apart(
    tiny_bundle: Bundle, formulas: list[Formula]
) -> None:
    broken = Formula("broken.json", b"{")
    result = measure_throughput(tiny_bundle, [broken, *formulas[:3]], files=8, beam=1)
    assert (result.files, result.lines) == (8, 6)
    assert result.per_second == pytest.approx(6 / result.seconds)
    with pytest.raises(InktexError, match="expected files that can be read, found none"):
        measure_throughput(tiny_bundle, [broken], files=2, beam=1)


def test_a_command_that_fails_says_why(tiny_bundle: Bundle, formulas: list[Formula]) -> None:
    with pytest.raises(InktexError, match=r"expected 2 files .* status 2: .*'fp64'"):
        measure_throughput(tiny_bundle, formulas, files=2, precision="fp64")
