from __future__ import annotations

from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path

import pytest

import inktex.runtimes
from inktex.runtimes import catalogue
from inktex.runtimes.catalogue import KNOWN, Machine, statuses


def test_every_runtime_of_this_project_is_known() -> None:
    assert {known.name for known in KNOWN} == {
        name
        for name, entry_point in inktex.runtimes.runtimes().items()
        if entry_point.value.startswith("inktex.")
    }


def test_what_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "openvino":
            raise PackageNotFoundError
        return "1.2.3"

    monkeypatch.setattr(catalogue, "version", version)
    found = {status.name: status for status in statuses()}
    assert (found["onnxruntime"].version, found["onnxruntime"].install) == ("1.2.3", "")
    assert found["openvino"].version is None
    assert found["openvino"].install == "pip install openvino"


def test_runtimes_of_others_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {
        **inktex.runtimes.runtimes(),
        "npu": EntryPoint("npu", "theirs:Model", inktex.runtimes.GROUP),
    }
    monkeypatch.setattr(inktex.runtimes, "runtimes", lambda: there)
    assert statuses()[-1].name == "npu"
    assert "theirs" in statuses()[-1].runs_on


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "flags : fpu avx2 avx512f avx512_vnni\nflags : fpu avx2\n",
            ("avx2", "avx512f", "avx512_vnni"),
        ),
        ("Features\t: fp asimd asimddp i8mm\n", ("asimd", "asimddp", "i8mm")),
        ("model name : none\n", ()),
    ],
)
def test_the_instructions_are_those_of_the_processor(
    tmp_path: Path, text: str, found: tuple[str, ...]
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    machine = Machine.present(tmp_path)
    assert machine.instructions == found
    assert machine.processors >= 1


def test_without_proc_nothing_is_said_of_instructions(tmp_path: Path) -> None:
    assert Machine.present(tmp_path).instructions == ()
