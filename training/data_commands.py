"""`inktex data`: data sets."""

from __future__ import annotations

import json
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.group()
def data() -> None:
    """Import data sets and look at them.

    \b
    Examples:
      inktex data import train.zip -o train.inkset --captions train.tsv
      inktex data inspect train.inkset
    """


@data.command("import")
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The .inkset file to write.")
@click.option("--captions", type=_PATH, help="Lines of IDENTIFIER, tab, caption; they win.")
@click.option("--report", type=_PATH, help="Write what was skipped, and why, as JSON.")
def import_(
    sources: tuple[Path, ...], output: Path, captions: Path | None, report: Path | None
) -> None:
    """Import InkML (zips, folders, files) into one compact file.

    \b
    Examples:
      inktex data import crohme/inkml/train.zip -o train.inkset
      inktex data import 2014.zip --captions 2014.tsv -o 2014.inkset --report skipped.json
    """
    from ..core.errors import DataError
    from ..core.progress import Progress
    from .crohme import count_ink_files, import_inkml, read_captions
    from .inkset import SUFFIX, fingerprint, save_inkset

    if output.suffix != SUFFIX:
        raise DataError(f"-o: expected a name that ends in {SUFFIX}, found {output.name!r}")
    if not output.parent.is_dir():
        raise DataError(f"-o: expected an existing folder, found none at {output.parent}")
    for path in (*sources, *([captions] if captions else [])):
        if not path.exists():
            raise DataError(f"expected data at {path}, found nothing; check the path")
    known = read_captions(captions) if captions else None
    with Progress(count_ink_files(sources), "files read") as progress:
        expressions, result = import_inkml(sources, known, progress)
    if report is not None:
        content = {"skipped": result.skipped, "disagreements": result.disagreements}
        report.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    if not expressions:
        raise DataError(f"nothing could be imported:\n{result}")
    save_inkset(output, expressions)
    click.echo(result)
    click.echo(f"{output}: {output.stat().st_size:,} bytes, fingerprint {fingerprint(expressions)}")


@data.command()
@click.argument("source", type=_PATH)
def inspect(source: Path) -> None:
    """Count what is in an ink set.

    \b
    Example:
      inktex data inspect train.inkset
    """
    import numpy as np

    from ..core.errors import DataError
    from .inkset import fingerprint, load_inkset

    expressions = load_inkset(source)
    if not expressions:
        raise DataError(f"{source} holds no expression; import some with `inktex data import`")
    lengths = np.array([len(each.caption) for each in expressions])
    writers = {each.writer for each in expressions if each.writer}
    tokens = {token for each in expressions for token in each.caption}
    p50, p95, most = np.percentile(lengths, [50, 95, 100]).astype(int)
    click.echo(f"{len(expressions)} expressions, fingerprint {fingerprint(expressions)}")
    click.echo(f"{len({each.caption for each in expressions})} distinct captions")
    click.echo(f"{len(writers)} writers named, {sum(not e.writer for e in expressions)} unnamed")
    click.echo(f"{len(tokens)} tokens; captions of {p50} (median), {p95} (95 %), {most} (longest)")
