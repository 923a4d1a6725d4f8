"""The command line: what it says, with which exit status, and how others add to it."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from inktex.core import cli
from inktex.core.cli import GROUP, main

INSTALLED = sorted(entry_point.name for entry_point in entry_points(group=GROUP))

COMMANDS = """
import click
from inktex.core.errors import InputError

@click.command()
def fine():
    "Say something."
    click.echo("something")

@click.command()
def foreign():
    click.echo("\u65e5\u672c.json")

@click.command()
def unreadable():
    raise InputError("expected ink,\\n  found a poem; draw instead")

@click.command()
def heavy():
    import engine_of_another_world

@click.command()
def faulty():
    import plugin_commands_that_were_forgotten.x

@click.command()
def interrupted():
    raise KeyboardInterrupt

@click.command()
def broken():
    raise ZeroDivisionError("a bug")

@click.command()
def endless():
    while True:
        click.echo("x" * 1000)
"""

METADATA = """\
Metadata-Version: 2.1
Name: plugin
Version: 1
Requires-Dist: Engine.of-another_world>=1; extra == "motor"
Requires-Dist: Engine.of-another_world>=1; extra == "dev"
"""

ENTRY_POINTS = """\
[inktex.commands]
fine = plugin_commands:fine
foreign = plugin_commands:foreign
unreadable = plugin_commands:unreadable
heavy = plugin_commands:heavy
faulty = plugin_commands:faulty
interrupted = plugin_commands:interrupted
broken = plugin_commands:broken
endless = plugin_commands:endless
eager = plugin_eager:command
unheard-of = plugin_unheard_of:command
no-command = plugin_commands:InputError
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another project, installed in a folder that is on the path, that adds commands."""
    metadata = tmp_path / "plugin-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(METADATA)
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "plugin_commands.py").write_text(COMMANDS)
    (tmp_path / "plugin_eager.py").write_text("import engine_of_another_world")
    (tmp_path / "plugin_unheard_of.py").write_text("import unheard_of.part")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


def inktex(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="inktex")


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths of all commands below `command` that are not groups."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, (*path, name))


def test_the_version_is_that_of_the_package() -> None:
    assert inktex("--version").output == f"inktex, version {version('inktex')}\n"


def test_help_names_every_command_and_what_it_does() -> None:
    result = inktex("--help")
    assert result.exit_code == 0
    assert "inktex recognize examples/" in result.output
    assert INSTALLED
    for name in INSTALLED:
        assert re.search(rf"^  {name}  +[A-Z]", result.output, re.MULTILINE), name


def test_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from inktex.core.cli import main; main(['--help'], standalone_mode=False); "
        "print({'torch', 'numpy', 'onnxruntime', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", INSTALLED)
def test_every_command_explains_itself_with_an_example(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for path in leaves(command, (name,)):
        result = inktex(*path, "--help")
        assert result.exit_code == 0, result.output
        without_usage = result.output.partition("\n")[2]
        assert f"inktex {' '.join(path)} " in without_usage, f"no example in {path}"


def test_an_unknown_command_is_wrong_usage() -> None:
    result = inktex("recognise-not")
    assert result.exit_code == 2
    assert "No such command" in result.output


@pytest.mark.usefixtures("plugin")
def test_another_project_adds_a_command() -> None:
    assert re.search(r"^  fine +Say something\.$", inktex("--help").output, re.MULTILINE)
    result = inktex("fine")
    assert (result.exit_code, result.output) == (0, "something\n")


@pytest.mark.usefixtures("plugin")
def test_an_error_is_one_line_on_standard_error() -> None:
    result = inktex("unreadable")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "inktex: error: expected ink, found a poem; draw instead\n"


@pytest.mark.usefixtures("plugin")
def test_debug_shows_where_an_error_comes_from() -> None:
    result = inktex("--debug", "unreadable")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "in unreadable" in result.stderr
    assert result.stderr.endswith("inktex: error: expected ink, found a poem; draw instead\n")


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("arguments", [["heavy"], ["eager", "--beam", "3"], ["eager", "--help"]])
def test_a_missing_extra_is_answered_with_the_pip_command(arguments: list[str]) -> None:
    result = inktex(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "engine_of_another_world is not installed" in result.stderr
    assert "pip install 'plugin[motor]'" in result.stderr


def test_the_extra_is_the_one_the_folder_is_named_after() -> None:
    assert doctest.testmod(cli) == (0, 4)


@pytest.mark.usefixtures("plugin")
def test_a_missing_package_of_no_extra_is_named() -> None:
    result = inktex("unheard-of")
    assert result.exit_code == 2
    assert "pip install 'unheard_of'" in result.stderr


@pytest.mark.usefixtures("plugin")
def test_one_command_that_cannot_be_loaded_spoils_no_other() -> None:
    result = inktex("--help")
    assert result.exit_code == 0
    assert re.search(r"^  eager +\(engine_of_another_world is not", result.output, re.MULTILINE)
    assert re.search(r"^  no-command +\(.*not a click command", result.output, re.MULTILINE)
    assert "Say something." in result.output


@pytest.mark.usefixtures("plugin")
def test_faults_are_not_dressed_up() -> None:
    assert isinstance(inktex("broken").exception, ZeroDivisionError)


def test_a_missing_module_of_our_own_is_a_fault_not_an_extra(plugin: Path) -> None:
    fault = "import plugin_own.gone"
    (plugin / "plugin_own").mkdir()
    (plugin / "plugin_own" / "__init__.py").touch()
    (plugin / "plugin_own" / "commands.py").write_text(
        f"import click\n@click.command()\ndef own():\n    {fault}\n"
    )
    with (plugin / "plugin-1.dist-info" / "entry_points.txt").open("a") as file:
        file.write("own = plugin_own.commands:own\n")
    assert isinstance(inktex("own").exception, ModuleNotFoundError)


@pytest.mark.usefixtures("plugin")
def test_an_interrupt_ends_with_130() -> None:
    result = inktex("interrupted")
    assert result.exit_code == 130
    assert result.stderr.strip() == "inktex: interrupted"


def run_plugin(plugin: Path, command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(plugin), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "inktex.core.cli", command],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        timeout=60,
        **options,
    )


def test_signs_that_the_output_lacks_are_escaped(plugin: Path) -> None:
    done = run_plugin(plugin, "foreign", stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "cp1252"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u65e5\\u672c.json\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_is_one_line(plugin: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run_plugin(plugin, "fine", stdout=full)
    assert done.returncode == 2
    assert done.stderr == (
        "inktex: error: the output cannot be written (No space left on device); make room\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows closes otherwise")
def test_without_an_output_all_can_go_well(plugin: Path) -> None:
    done = run_plugin(plugin, "fine", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows pipes end otherwise")
def test_a_reader_that_goes_away_ends_it_quietly(plugin: Path) -> None:
    path = os.pathsep.join([str(plugin), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-m", "inktex.core.cli", "endless"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"x" * 1000 + b"\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141
