from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from inktex.benchmarks.formulas import Formula, write_files
from inktex.benchmarks.profiler import offline
from inktex.benchmarks.profiler.profile import Profile
from inktex.core.bundle import Bundle
from inktex.core.errors import InputError
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel

QUICK = ("--samples", 4, "--seconds", 0, "--repeats", 2, "--limit", 2)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, formulas: list[Formula]) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(formulas[:3], folder)
    return folder


def test_a_whole_run(
    tiny_bundle: Bundle, files: Path, tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    done = inktex(
        *("bench", tiny_bundle.path, "--data", files, *QUICK, "--runtime", "onnxruntime"),
        *("--precision", "all", "--beam", 1, "--repeats", 1),
        *("--baseline", "fp32", "--baseline", "int8"),
        *("--json", tmp_path / "a.json", "--html", tmp_path / "a.html"),
    )
    assert done.exit_code == 0, done.output
    profile = Profile.load(tmp_path / "a.json")
    assert len(profile.measurements) == len(profile.cold_starts) == len(profile.live_ink) == 2
    ratio, inverse = profile.ratios
    assert ratio.label == inverse.baseline == "onnxruntime int8, 1 thread, greedy"
    assert ratio.encode is not None
    assert inverse.label == ratio.baseline
    assert profile.roofline is not None
    assert {each.label for each in profile.roofline.reached} == {
        "onnxruntime fp32, 1 thread", "onnxruntime int8, 1 thread",
    }  # fmt: skip
    assert profile.offline
    assert profile.watched is not None
    assert not profile.interrupted
    assert "## Under the roof" in done.stdout
    assert (tmp_path / "a.html").stat().st_size > 10_000
    again = inktex("bench", "page", tmp_path / "a.json", "-o", tmp_path / "b.html")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    compared = inktex("bench", "compare", tmp_path / "a.json", tmp_path / "a.json", "--strict")
    assert compared.exit_code == 0, compared.output
    assert "unknown: one repeat" in compared.stdout


def test_a_configuration_that_reads_nothing_is_left_out(
    tiny_bundle: Bundle,
    files: Path,
    inktex: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise InputError("beams: expected at most 1")

    monkeypatch.setattr(OnnxRuntimeModel, "reorder", refuse)  # which greedy search never calls
    arguments = ("bench", tiny_bundle.path, "--data", files, *QUICK, "--part", "stream")
    done = inktex(*arguments, "--precision", "fp32", "--beam", "1,3")
    assert done.exit_code == 0, done.output
    assert "onnxruntime fp32, 1 thread, beam 3 is left out: beams: expected" in done.stdout
    assert "| onnxruntime fp32, 1 thread, greedy |" in done.stdout
    done = inktex(*arguments, "--precision", "fp32", "--beam", "3")
    assert done.exit_code == 2
    assert "reads anything" in done.stderr


def test_a_regression_is_status_1_when_asked_for(
    profile: Callable[..., Profile], tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    profile(1.0).save(tmp_path / "a.json")
    profile(2.0).save(tmp_path / "b.json")
    paths = (tmp_path / "a.json", tmp_path / "b.json")
    assert inktex("bench", "compare", *paths).exit_code == 0
    done = inktex("bench", "compare", *paths, "--strict")
    assert done.exit_code == 1
    assert "REGRESSION: slower" in done.stdout


def test_an_interrupted_run_is_written_and_marked(
    tiny_bundle: Bundle,
    files: Path,
    tmp_path: Path,
    inktex: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("inktex.benchmarks.profiler.run.measure_live_ink", stop)
    command = ("bench", tiny_bundle.path, "--data", files, *QUICK, "--precision", "fp32")
    done = inktex(*command, "--json", tmp_path / "a.json")
    assert done.exit_code == 130
    assert "INTERRUPTED" in done.stdout
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["interrupted"]
    assert content["measurements"]
    assert not content["cold_starts"]

    # what is there stays as it is, also where another is stopped
    written = (tmp_path / "a.json").read_bytes()
    done = inktex(*command, "--json", tmp_path / "a.json")
    assert "a.interrupted.json" in done.stderr
    assert (tmp_path / "a.json").read_bytes() == written
    assert Profile.load(tmp_path / "a.interrupted.json").measurements
    done = inktex(*command, "--part", "live", "--json", tmp_path / "b.json")
    assert (done.exit_code, "nothing was measured" in done.stderr) == (130, True)
    assert not (tmp_path / "b.json").exists()


def test_a_run_ends_with_the_part_that_was_stopped(
    tiny_bundle: Bundle,
    files: Path,
    tmp_path: Path,
    inktex: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = offline._Work.run

    def run(work: offline._Work, *arguments: Any) -> None:
        if work.rounds:
            raise KeyboardInterrupt
        own(work, *arguments)

    monkeypatch.setattr(offline._Work, "run", run)
    done = inktex(
        *("bench", tiny_bundle.path, "--data", files, *QUICK, "--precision", "fp32", "--beam", 1),
        *("--part", "offline,roofline", "--json", tmp_path / "a.json"),
    )
    assert (done.exit_code, "INTERRUPTED" in done.stdout) == (130, True)
    profile = Profile.load(tmp_path / "a.json")
    assert profile.interrupted
    assert {each.formulas for each in profile.offline} == {2}
    assert (profile.batches, profile.roofline) == ([], None)


def test_a_profile_is_kept_where_its_reader_goes_away(
    tiny_bundle: Bundle,
    files: Path,
    tmp_path: Path,
    inktex: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inktex.benchmarks.profiler.terminal.as_text", lose)
    done = inktex(
        *("bench", tiny_bundle.path, "--data", files, *QUICK, "--precision", "fp32"),
        *("--beam", 1, "--part", "stream", "--json", tmp_path / "a.json"),
    )
    assert done.exit_code != 0
    assert Profile.load(tmp_path / "a.json").measurements


def test_a_report_takes_not_the_place_of_its_profile(
    profile: Callable[..., Profile], tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    profile(1.0).save(tmp_path / "a.json")
    for arguments in (
        ("page", tmp_path / "a.json", "-o", tmp_path / "a.json"),
        ("--json", tmp_path / "a.json", "--html", tmp_path / "a.json"),
    ):
        done = inktex("bench", *arguments)
        assert (done.exit_code, "another file than" in done.stderr) == (2, True)
    assert Profile.load(tmp_path / "a.json").measurements


def test_a_matrix_is_of_what_is_named(
    tiny_bundle: Bundle, files: Path, tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    done = inktex(
        *("bench", tiny_bundle.path, "--data", files, *QUICK, "--matrix", "--beam", 2),
        *("--precision", "fp32", "--threads", 1, "--runtime", "onnxruntime", "--part", "stream"),
        *("--json", tmp_path / "a.json"),
    )
    assert done.exit_code == 0, done.output
    labels = [each.label for each in Profile.load(tmp_path / "a.json").measurements]
    assert labels == ["onnxruntime fp32, 1 thread, beam 2"]


def test_nothing_in_common_is_no_success(
    profile: Callable[..., Profile], tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    other = profile(1.0)
    other.measurements = []
    profile(1.0).save(tmp_path / "a.json")
    other.save(tmp_path / "b.json")
    done = inktex("bench", "compare", tmp_path / "a.json", tmp_path / "b.json", "--strict")
    assert (done.exit_code, "no configuration was measured in both" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--part", "stream,energy"), "found 'energy'"),
        (("--baseline", "fp64"), "expected words that name something measured"),
        (("--runtime", "openvino"), "found only onnxruntime int8"),
        (("--data", "nowhere"), "at nowhere, found none"),
        (("--json", "nowhere/x.json"), "an existing folder"),
        (("--html", "nowhere/x.html"), "an existing folder"),
        (("--json", "."), "found the folder"),
        (("--peer", "abm"), "say --random-weights"),
        (("--peer", "abm", "--part", "live,start"), "found --part live,start; add stream"),
        (("--peer", "abm", "--random-weights"), "expected ink with captions"),
        (("compare", "a.json"), "found one"),
        (("compare", "a.json", "b.json"), "cannot be read"),
        (("compare", "a.json", "b.json"), "give what `inktex bench --json FILE` wrote"),
    ],
)
def test_wrong_usage_is_status_2(
    tiny_bundle: Bundle,
    files: Path,
    inktex: Callable[..., Result],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    before = () if arguments[0] == "compare" else (tiny_bundle.path, "--data", files)
    done = inktex("bench", *before, *arguments)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
