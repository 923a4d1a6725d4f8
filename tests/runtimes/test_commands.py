from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import inktex.runtimes
from inktex.core.bundle import Bundle
from inktex.core.rendering import render_ink
from inktex.runtimes import load
from inktex.runtimes.commands import recognize

STROKES = [[[0, 0], [10, 20]], [[10, 0], [0, 20]], [[20, 5], [30, 5]]]
INK = json.dumps({"strokes": STROKES})


# Runs a command, and says when it waits for its standard input.
WAITING = """
import signal, sys
from inktex.core.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run where it is ignored

class Told:
    def __getattr__(self, name):
        return getattr(real, name)

    def read(self, size):
        print("waits", flush=True)
        return real.read(size)

class Input:
    buffer = Told()

real, sys.stdin = sys.stdin.buffer, Input()
main(prog_name="inktex")
"""


@pytest.fixture(autouse=True)
def default_bundle(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inktex.runtimes, "DEFAULT_BUNDLE", tiny_bundle.path)


@pytest.fixture
def latex(tiny_bundle: Bundle) -> str:
    """What the tiny bundle reads in `INK`."""
    latex = load(tiny_bundle)(STROKES).latex
    assert latex
    return latex


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(recognize, arguments, input=stdin)


def test_one_file_gives_just_its_latex(here: Path, latex: str) -> None:
    (here / "x.json").write_text(INK)
    done = run("x.json")
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{latex}\n", "")


def test_several_give_a_line_each_with_the_path(here: Path, latex: str) -> None:
    (here / "b.json").write_text(INK)
    (here / "a.json").write_text(INK)
    done = run("b.json", "a.json")
    assert (done.exit_code, done.stdout) == (0, f"b.json\t{latex}\na.json\t{latex}\n")


def test_a_folder_names_its_files_however_few(here: Path, latex: str) -> None:
    (here / "notes").mkdir()
    (here / "notes" / "x.json").write_text(INK)
    path = os.path.join("notes", "x.json")
    assert run("notes").stdout == f"{path}\t{latex}\n"
    assert run("note*/*.json").stdout == f"{path}\t{latex}\n"


@pytest.mark.parametrize("threads", ["1", "3"])
def test_lines_come_in_the_order_of_the_files(here: Path, latex: str, threads: str) -> None:
    for number in range(20):
        (here / f"{number:02}.json").write_text(INK if number % 4 else "broken")
    done = run(".", "--threads", threads)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"{os.path.join('.', f'{number:02}.json')}\t{latex}" for number in range(20) if number % 4
    ]
    *errors, summary = done.stderr.splitlines()
    assert [error.split(".json")[0][-2:] for error in errors] == ["00", "04", "08", "12", "16"]
    assert summary == "inktex: 5 of 20 could not be read"


@pytest.mark.parametrize("kind", ["ink", "image"])
def test_standard_input(here: Path, latex: str, kind: str, tiny_bundle: Bundle) -> None:
    data = INK.encode()
    if kind == "image":
        recognizer = load(tiny_bundle)
        strokes = [np.array(stroke, dtype=np.float64) for stroke in STROKES]
        picture = Image.fromarray(255 - render_ink(strokes))
        picture.save(here / "x.png")
        data, latex = (here / "x.png").read_bytes(), recognizer(picture).latex
    done = run("-", stdin=data)
    assert (done.exit_code, done.stdout) == (0, f"{latex}\n")


def test_standard_input_beside_others_can_be_interrupted(
    here: Path, latex: str, tiny_bundle: Bundle
) -> None:
    (here / "x.json").write_text(INK)
    done = run("x.json", "-", stdin=INK)
    assert (done.exit_code, done.stdout) == (0, f"x.json\t{latex}\n-\t{latex}\n")
    command = ("recognize", "-", "x.json", "--bundle", str(tiny_bundle.path))
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in said


def test_standard_input_is_no_longer_than_a_file_may_be(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inktex.core.preparation.MAX_BYTES", len(INK) - 1)
    done = run("-", stdin=INK)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"-: expected at most {len(INK) - 1} bytes, found more" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_an_output_that_is_closed_is_told(here: Path, tiny_bundle: Bundle) -> None:
    (here / "x.json").write_text(INK)
    command = [sys.executable, "-m", "inktex.core.cli", "recognize", "x.json", "--bundle"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command, str(tiny_bundle.path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 2
    assert "an output to write LaTeX to, found it closed" in done.stderr


def test_json_lines(here: Path, latex: str, tiny_bundle: Bundle) -> None:
    (here / "x.json").write_text(INK)
    (here / "y.json").write_text("{")
    done = run("x.json", "y.json", "--json", "--nbest", "2")
    assert (done.exit_code, done.stderr) == (1, "inktex: 1 of 2 could not be read\n")
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    expected = load(tiny_bundle)(STROKES, nbest=2)
    assert good["path"] == "x.json"
    assert good["latex"] == expected.latex
    assert good["tokens"] == list(expected.tokens)
    assert good["confidence"] == pytest.approx(expected.confidence)
    assert [each["latex"] for each in good["alternatives"]] == [
        each.latex for each in expected.alternatives
    ]
    assert set(good["timings"]) == {"read_ms", "encode_ms", "decode_ms", "total_ms"}
    assert set(bad) == {"path", "error"}
    assert bad["path"] == "y.json"


def test_several_readings_are_a_line_each(here: Path, tiny_bundle: Bundle) -> None:
    (here / "x.json").write_text(INK)
    expected = load(tiny_bundle)(STROKES, nbest=3)
    lines = run("x.json", "--nbest", "3").stdout.splitlines()
    assert lines[0] == f"{expected.confidence:.4f}\t{expected.latex}"
    assert len(lines) == 1 + len(expected.alternatives) == 3


def test_a_bad_file_is_reported_and_the_rest_go_on(here: Path, latex: str) -> None:
    (here / "text.png").write_text("not a picture")
    (here / "x.json").write_text(INK)
    done = run("text.png", "nowhere.inkml", "x.json", "*.tiff")
    assert done.exit_code == 1
    assert done.stdout == f"x.json\t{latex}\n"
    lines = done.stderr.splitlines()
    assert [line.count("inktex: error: ") for line in lines] == [1, 1, 1, 0]
    for line, path in zip(lines, ("text.png", "nowhere.inkml", "*.tiff"), strict=False):
        assert line.count(path) == 1, line


def test_one_bad_file_is_one_line(here: Path) -> None:
    done = run("nowhere.inkml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("inktex: error: nowhere.inkml: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_names_with_newlines_and_tabs_stay_on_one_line(here: Path, latex: str) -> None:
    good, bad = "two\nlines\tof.json", "no\ntruth.json"
    (here / good).write_text(INK)
    (here / bad).write_text("{")
    done = run(good, bad)
    assert done.stdout == f"two\\nlines\\tof.json\t{latex}\n"
    assert done.stderr.count("\n") == 2
    assert "no\\ntruth.json" in done.stderr
    lines = [json.loads(line) for line in run(good, bad, "--json").stdout.splitlines()]
    assert [line["path"] for line in lines] == [good, bad]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_names_that_are_no_text(here: Path, latex: str) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    (here / name).write_text(INK)
    done = run(name, name)
    assert (done.exit_code, done.stdout) == (0, f"caf\\udce9.json\t{latex}\n" * 2)
    path = json.loads(run(name, "--json").stdout)["path"]
    assert os.fsencode(path) == b"caf\xe9.json"


@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads without permission"
)
def test_what_may_not_be_read_is_reported(here: Path, latex: str) -> None:
    (here / "closed").mkdir()
    (here / "closed" / "y.json").write_text(INK)
    (here / "x.json").write_text(INK)
    (here / "closed").chmod(0)
    try:
        done = run(".")
    finally:
        (here / "closed").chmod(0o755)
    assert done.exit_code == 1
    assert done.stdout.endswith(f"x.json\t{latex}\n")
    assert "closed" in done.stderr
    assert "Permission denied" in done.stderr


def test_greedy_and_without_grammar(here: Path, tiny_bundle: Bundle) -> None:
    (here / "x.json").write_text(INK)
    recognizer = load(tiny_bundle)
    assert run("x.json", "--beam", "1").stdout.strip() == recognizer(STROKES, beam=1).latex
    free = recognizer(STROKES, constrain=False).latex
    assert run("x.json", "--no-grammar").stdout.strip() == free


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x.json", "--beam", "0"],
        ["x.json", "--beam", "2", "--nbest", "3"],
        ["x.json", "--threads", "0"],
        ["x.json", "--bundle", "x.json"],
        ["x.json", "--colour"],
    ],
)
def test_wrong_usage_is_status_2(here: Path, arguments: list[str]) -> None:
    (here / "x.json").write_text(INK)
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage:" in done.stderr


def test_another_bundle(here: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inktex.runtimes, "DEFAULT_BUNDLE", here / "none")
    (here / "x.json").write_text(INK)
    assert run("x.json", "--bundle", str(tiny_bundle.path), "--precision", "fp32").exit_code == 0


def test_help_shows_examples() -> None:
    done = run("--help")
    assert done.exit_code == 0
    for said in ("inktex recognize --json notes/", "Exit status:", "--nbest", "InkML"):
        assert said in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_on_a_terminal_and_nothing_of_it_in_the_output(
    here: Path, tiny_bundle: Bundle, latex: str
) -> None:
    import pty

    for number in range(6):
        (here / f"{number}.json").write_text(INK)
    ours, theirs = pty.openpty()
    code = "from inktex.runtimes.commands import recognize; recognize()"
    done = subprocess.run(
        [sys.executable, "-c", code, ".", "--bundle", str(tiny_bundle.path)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        timeout=60,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert done.stdout.decode().count(latex) == 6
    assert b"\x1b" not in done.stdout
    assert b"6/6" in shown


def test_the_module_is_light() -> None:
    code = (
        "import sys, inktex.runtimes.commands; "
        "print({'numpy', 'PIL', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
