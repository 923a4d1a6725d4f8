"""`inktex recognize`: files, folders and standard input to LaTeX, one line a formula."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from . import options

if TYPE_CHECKING:
    from ..core.recognizer import Recognizer, Result
    from .sources import SourceFile

T = TypeVar("T")
R = TypeVar("R")
_FEW = 3  # for so few a progress bar is only in the way

_EPILOG = """\b
Examples:
  inktex recognize examples/01-square.inkml     one file: just its LaTeX
  inktex recognize notes/                    a folder, with all below it: path TAB LaTeX
  inktex recognize 'notes/**/*.png'          a pattern (quoted: the shell need not know it)
  cat x.inkml | inktex recognize -           standard input
  inktex recognize --nbest 3 x.inkml         the three likeliest: confidence TAB LaTeX
  inktex recognize --json notes/ > out.jsonl one JSON object a line, for programs

\b
Reads InkML, JSON strokes ({"strokes": [[[x, y], ...], ...]}), PNG, JPEG, WebP
and BMP; a file's content tells which. Exit status: 0 all were read; 1 some were
not, and standard error (with --json the file's line) says why; 2 wrong usage or
an unusable bundle.
"""


@dataclass(frozen=True)
class _Outcome:
    """What became of one file: a result, or the error."""

    path: str
    result: Result | None
    error: str = ""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path())
@options.beam
@click.option(
    "--nbest",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Readings to give of each formula, best first; at most as many as --beam. [default: 1]",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a formula.")
@options.bundle("The recognizer to use.")
@options.runtime
@options.precision
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processors to use; with several files, formulas read at the same time. "
    "[default: what this process may use, at most 4]",
)
@options.grammar
@click.option(
    "--rescore/--no-rescore",
    default=None,
    help="Rank the hypotheses of a beam by both directions of writing. [default: as the bundle "
    "says]",
)
def recognize(
    paths: tuple[str, ...],
    beam: int | None,
    nbest: int,
    as_json: bool,
    bundle: str | None,
    runtime: str,
    precision: str,
    threads: int | None,
    grammar: bool,
    rescore: bool | None,
) -> None:
    """Read handwritten formulas and write their LaTeX, one line each.

    PATH is a file, a folder, a pattern, or - for standard input.
    """
    from ..core.errors import DataError
    from . import load
    from .processors import default_threads
    from .sources import find_sources

    if sys.stdout is None:
        raise DataError("expected an output to write LaTeX to, found it closed; open it")
    if beam is not None and beam < nbest:
        raise click.UsageError(
            f"--beam {beam} gives no {nbest} readings; widen it or lower --nbest"
        )
    sources = list(find_sources(paths))
    workers = min(threads or default_threads(), len(sources))
    # Many small formulas: one thread each, several at a time, is faster than the other way round.
    alone = threads if workers == 1 else 1
    recognizer = load(bundle, runtime, precision, alone)
    sources = [_with_standard_input(each) for each in sources]

    read = partial(_read, recognizer, beam=beam, nbest=nbest, constrain=grammar, rescore=rescore)

    with_path = len(paths) > 1 or (paths[0] != "-" and sources[0].path != paths[0])
    failed = 0
    with _Progress(len(sources)) as progress:
        for outcome in _in_order(read, sources, workers):
            failed += outcome.result is None
            progress.hide()
            if as_json:
                click.echo(_json(outcome, recognizer))
            elif outcome.result is None:
                click.echo(f"inktex: error: {outcome.error}", err=True)
            else:
                for line in _lines(outcome.result, nbest):
                    click.echo(f"{_printable(outcome.path)}\t{line}" if with_path else line)
            progress.advance()
    if failed and len(sources) > 1:
        click.echo(f"inktex: {failed} of {len(sources)} could not be read", err=True)
    if failed:
        sys.exit(1)


def _with_standard_input(source: SourceFile) -> SourceFile:
    """With what `-` stands for, read here: a thread that waits for it could not be interrupted."""
    from ..core.preparation import MAX_BYTES
    from .sources import STANDARD_INPUT

    if source.path != STANDARD_INPUT:
        return source
    if sys.stdin is None:
        return replace(source, problem="expected ink or an image, found it closed")
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        return replace(source, problem=f"expected at most {MAX_BYTES:,} bytes, found more")
    return replace(source, data=data)


def _read(recognizer: Recognizer, source: SourceFile, **settings: Any) -> _Outcome:
    from ..core.errors import InktexError

    path, label = source.path, _printable(source.path)
    if source.problem is not None:
        return _Outcome(path, None, f"{label}: {source.problem}")
    try:
        if source.data is not None:
            label = "standard input"
            return _Outcome(path, recognizer(source.data, name=label, **settings))
        return _Outcome(path, recognizer(path, name=label, **settings))
    except InktexError as error:
        message = " ".join(line.strip() for line in str(error).splitlines())
    except Exception as error:  # one file must not take a thousand others with it
        message = f"unforeseen {type(error).__name__}: {error}; please report it with the file"
    return _Outcome(path, None, message if label in message else f"{label}: {message}")


def _in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` with several threads: results in the order of `items`, only a few of them held."""
    if workers <= 1:
        yield from map(function, items)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers)
    window: deque[Future[R]] = deque()
    try:
        for item in items:
            window.append(pool.submit(function, item))
            if len(window) > 2 * workers:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _lines(result: Result, nbest: int) -> Iterator[str]:
    if nbest == 1:
        yield result.latex
        return
    yield f"{result.confidence:.4f}\t{result.latex}"
    for reading in result.alternatives:
        yield f"{reading.confidence:.4f}\t{reading.latex}"


def _json(outcome: _Outcome, recognizer: Recognizer) -> str:
    import json

    result = outcome.result
    if result is None:
        return json.dumps({"path": outcome.path, "error": outcome.error})
    running = {} if recognizer.running is None else asdict(recognizer.running)
    return json.dumps({"path": outcome.path, **asdict(result), "running": running})


def _printable(path: str) -> str:
    r"""A path on one line: what does not print (newlines, tabs, broken bytes) is escaped.

    >>> _printable("two\nlines")
    'two\\nlines'
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in path
    )


class _Progress:
    """A bar on standard error: only when that is a terminal, and more than a few are to be read."""

    def __init__(self, total: int) -> None:
        self._bar = None
        if total > _FEW and sys.stderr.isatty():
            self._bar = click.progressbar(length=total, show_pos=True, file=sys.stderr)

    def __enter__(self) -> _Progress:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)

    def hide(self) -> None:
        """Clear the bar's line, so that what is printed next does not land behind it."""
        if self._bar is not None:
            click.echo("\r\x1b[2K", nl=False, err=True)

    def advance(self) -> None:
        """One more was read."""
        if self._bar is not None:
            self._bar.update(1)
