"""The command line, put together from entry points: each folder brings its own commands.

A command is an entry point of the group `inktex.commands`, a `click.Command` under the name it is
called by; it is loaded when it is called or listed, so its module imports what is heavy inside its
functions. Another project adds a command in the same way.

Exit status: 0 all went well; 1 something unforeseen, or what a command says of itself (files that
could not be read, a self-test that failed); 2 wrong usage, an `InktexError`, or an extra
that is not installed; 130 interrupted; 141 the reader of the output went away.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper
from typing import IO, Any

import click

from .errors import DataError, InktexError, RuntimeUnavailable

__all__ = ["GROUP", "CommandLine", "main"]

GROUP = "inktex.commands"

_UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EDQUOT)

_EXAMPLES = """\b
Examples:
  inktex recognize examples/           every formula in a folder, one line each
  inktex recognize --nbest 3 x.inkml   the three likeliest readings
  inktex recognize --json photo.png    for programs
  inktex COMMAND --help                what a command takes, with examples
"""


class CommandLine(click.Group):
    """A group whose commands are the entry points of `GROUP`; says errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *_installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded; one that only says why, where it cannot be loaded; or None."""
        entry_point = _installed().get(cmd_name)
        if entry_point is None:
            return super().get_command(ctx, cmd_name)
        try:
            command = entry_point.load()
        except ImportError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            return _unavailable(cmd_name, _reason(entry_point, error))
        if not isinstance(command, click.Command):
            return _unavailable(cmd_name, f"{entry_point.value} is not a click command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an `InktexError` or a missing extra becomes one line and status 2."""
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
            # where the output is no UTF-8, one name of a file must not end all
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().invoke(ctx)
            finally:
                if sys.stdout is not None:  # a program without a console may have none
                    sys.stdout.flush()  # here, where a reader that went away can still be handled
        except InktexError as error:
            failure = error
        except ModuleNotFoundError as error:
            entry_point = _installed().get(ctx.invoked_subcommand or "")
            if entry_point is None or _is_own(entry_point, error):
                raise
            failure = RuntimeUnavailable(_reason(entry_point, error))
            failure.__cause__ = error
        except KeyboardInterrupt:
            click.echo("\ninktex: interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            _discard_output()
            ctx.exit(141)
        except OSError as error:
            if error.errno not in _UNWRITABLE or error.filename is not None:
                raise
            _discard_output()
            failure = DataError(f"the output cannot be written ({error.strerror}); make room")
            failure.__cause__ = error
        if ctx.params.get("debug"):
            traceback.print_exception(type(failure), failure, failure.__traceback__)
        raise _Failure(failure)


def _discard_output() -> None:
    """What is still to be written goes nowhere, and fails no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Failure(click.ClickException):
    """An error as the user sees it: one line on standard error, exit status 2."""

    exit_code = 2

    def __init__(self, error: InktexError) -> None:
        lines = (line.strip() for line in str(error).splitlines())
        super().__init__(" ".join(filter(None, lines)) or type(error).__name__)

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"inktex: error: {self.format_message()}", file=file, err=file is None)


def _installed() -> dict[str, EntryPoint]:
    return {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}


def _unavailable(name: str, reason: str) -> click.Command:
    """A command that takes any arguments, `--help` too, and says why it cannot run."""

    def refuse() -> None:
        raise RuntimeUnavailable(f"`inktex {name}` cannot run: {reason}")

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["ignored"], nargs=-1, expose_value=False)],
        short_help=f"({reason})",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


def _is_own(entry_point: EntryPoint, error: ImportError) -> bool:
    """Whether what is missing belongs to the command's own project: a fault, not an extra."""
    return (error.name or "").partition(".")[0] == entry_point.module.partition(".")[0]


def _reason(entry_point: EntryPoint, error: ImportError) -> str:
    """Why a command cannot run, with the pip command that mends it where there is one."""
    if not isinstance(error, ModuleNotFoundError) or _is_own(entry_point, error):
        return str(error)
    missing = (error.name or str(error)).partition(".")[0]
    wanted = missing
    if entry_point.dist is not None:
        folder = entry_point.module.split(".")[-2:][0]
        extra = _extra(entry_point.dist.requires or (), missing, folder)
        if extra:
            wanted = f"{entry_point.dist.name}[{extra}]"
    return f"{missing} is not installed; pip install '{wanted}'"


def _extra(requirements: Iterable[str], module: str, folder: str) -> str | None:
    """The extra that brings `module`, best the one that `folder` is named after, if that does, or
    takes along one that does.

    >>> named = {"torch>=2.6": "train", "inktex[train]": "export", "jinja2": "bench"}
    >>> requirements = [f'{name}; extra == "{extra}"' for name, extra in named.items()]
    >>> [_extra(requirements, "torch", each) for each in ("training", "export", "benchmarks")]
    ['train', 'export', 'train']
    >>> _extra(requirements, "numpy", "training") is None
    True
    """
    bringing: list[str] = []
    taking: list[str] = []  # an extra may take others along: inktex[train,export]
    for requirement in requirements:
        name = re.match(r"([\w.-]+)\s*(?:\[([^\]]*)\])?", requirement)
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)", requirement)
        if name and extra:
            if re.sub(r"[-.]", "_", name[1]).lower() == module.lower():
                bringing.append(extra[1])
            elif set(bringing) & set(re.split(r"\s*,\s*", name[2] or "")):
                taking.append(extra[1])
    if not bringing:
        return None
    return next((each for each in (*bringing, *taking) if folder.startswith(each)), bringing[0])


@click.group(
    cls=CommandLine,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="inktex", prog_name="inktex")
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
def main(debug: bool) -> None:
    """Handwritten mathematics to LaTeX, on this machine: ink or image in, LaTeX out.

    Nothing leaves the machine; no network is needed.
    """


if __name__ == "__main__":
    main(prog_name="inktex")
