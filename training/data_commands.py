"""`inktex data`: data sets."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from .import_report import ImportReport


class _Named(click.Path):
    """A path; an empty one, as of a variable that nobody set, is not the present folder."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        if value == "":
            self.fail("expected a path, found an empty one; `.` is the present folder", param, ctx)
        return super().convert(value, param, ctx)


_PATH = _Named(path_type=Path)


@click.group()
def data() -> None:
    """Import data sets, look at them, and make more.

    \b
    Examples:
      inktex data import train.zip -o train.inkset --captions train.tsv
      inktex data inspect train.inkset --sheet train.png
      inktex data synthesize train.inkset -n 100000 -o synthetic.inkset
      inktex data vocabulary train.inkset -o vocabulary.txt
    """


@data.command("import")
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The .inkset file to write.")
@click.option("--captions", type=_PATH, help="Table of names and captions; they win.")
@click.option("--image-column", metavar="NAME", help="Its column of names, by header or number.")
@click.option("--caption-column", metavar="NAME", help="Its column of captions, likewise.")
@click.option("--unlabelled", is_flag=True, help="Take no captions, as for `inktex pretrain`.")
@click.option("--vocabulary", type=_PATH, help="Skip captions with tokens outside of this file.")
@click.option("--split", "splits", multiple=True, help="Only ink of this split (MathWriting).")
@click.option("--report", type=_PATH, help="Write what was skipped, and why, as JSON.")
def import_(
    sources: tuple[Path, ...],
    output: Path,
    captions: Path | None,
    image_column: str | None,
    caption_column: str | None,
    unlabelled: bool,
    vocabulary: Path | None,
    splits: tuple[str, ...],
    report: Path | None,
) -> None:
    """Import InkML, JSON strokes or images (zips, folders, files) into one compact file.

    Captions are brought to the evaluation convention; what it cannot say is skipped, and counted
    by reason. Ink may bring its own: InkML a layout tree or an annotation (truth,
    normalizedLabel, label), JSON "latex". Images need --captions: lines of NAME, tab, CAPTION
    (HME100K, CROHME), or a CSV with a header (im2latex: formula,image).

    \b
    Examples:
      inktex data import crohme/inkml/train.zip -o train.inkset
      inktex data import 2014.zip --captions 2014.tsv -o 2014.inkset --report skipped.json
      inktex data import mathwriting/train mathwriting/synthetic -o mathwriting.inkset
      inktex data import train_images --captions train_labels.txt -o hme100k.inkset
      inktex data import formula_images --captions im2latex_train.csv -o im2latex.inkset
    """
    from ..core.errors import DataError
    from .captions import read_caption_table
    from .data_import import import_data
    from .import_settings import ImportSettings
    from .inkset import SUFFIX, fingerprint, save_inkset
    from .vocabulary_file import read_vocabulary

    _check_suffix(output, SUFFIX)
    inputs = [*sources, *(path for path in (captions, vocabulary) if path)]
    _check_outputs({"-o": output, "--report": report}, inputs)
    if unlabelled and captions:
        raise DataError("expected --captions or --unlabelled, found both; leave one of them out")
    if captions is None and (image_column or caption_column):
        raise DataError("expected --captions with the table whose column was named, found none")
    settings = ImportSettings(
        read_caption_table(captions, image_column, caption_column) if captions else None,
        read_vocabulary(vocabulary) if vocabulary else None,
        splits,
        labelled=not unlabelled,
    )
    expressions, result = import_data(sources, settings)
    if report is not None:
        _write_report(report, result)
    if not expressions:
        told = str(result).replace("\n", "; ")
        raise DataError(f"nothing could be imported: {told}")
    save_inkset(output, expressions)
    click.echo(result)
    click.echo(f"{output}: {output.stat().st_size:,} bytes, fingerprint {fingerprint(expressions)}")


def _check_suffix(output: Path, suffix: str) -> None:
    from ..core.errors import DataError

    if output.suffix != suffix:
        raise DataError(f"-o: expected a name that ends in {suffix}, found {output.name!r}")


def _check_outputs(outputs: Mapping[str, Path | None], inputs: Collection[Path]) -> None:
    """Refuse, before anything is read, files that could not be written, and those that would take
    the place of what they are made from, or of one another."""
    from ..core.errors import DataError
    from ..core.replacement import check_writable

    written = [(option, path) for option, path in outputs.items() if path is not None]
    for option, path in written:
        check_writable(path, option)
        if any(_is_same(path, source) for source in inputs):
            raise DataError(
                f"{option}: expected another file than those that are read, found {path}, which "
                "would be replaced; name another"
            )
    for (option, path), (other_option, other) in combinations(written, 2):
        if _is_same(path, other):
            raise DataError(
                f"{option} and {other_option}: expected two files, found {path} for both; name "
                "another"
            )


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


def _write_report(path: Path, report: ImportReport) -> None:
    from ..core.replacement import replacing

    text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False)
    with replacing(path) as partial:
        # annotated LaTeX may hold what UTF-8 cannot
        partial.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


@data.command()
@click.argument("source", type=_PATH)
@click.option("--training", type=_PATH, help="Compare with the ink set that is trained on.")
@click.option("--sheet", type=_PATH, help="Draw a random sample with captions, as PNG.")
@click.option("--count", default=24, show_default=True, type=click.IntRange(min=1), help="On it.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the sample."
)
@click.option("--json", "as_json", is_flag=True, help="For programs, with all tokens.")
def inspect(
    source: Path, training: Path | None, sheet: Path | None, count: int, seed: int, as_json: bool
) -> None:
    """Count what is in an ink set: captions, writers, sizes, tokens.

    \b
    Examples:
      inktex data inspect train.inkset --sheet train.png
      inktex data inspect 2014.inkset --training train.inkset --json
    """
    from .contact_sheet import contact_sheet, write_contact_sheet
    from .inkset import load_inkset
    from .inspection import inspect_expressions

    _check_outputs({"--sheet": sheet}, [source, *([training] if training else [])])
    expressions = load_inkset(source)
    known = load_inkset(training) if training else None
    result = inspect_expressions(expressions, known)
    if sheet is not None:
        write_contact_sheet(sheet, contact_sheet(expressions, source.name, count, seed))
    click.echo(json.dumps(result.to_dict(), ensure_ascii=False) if as_json else str(result))


@data.command()
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The .inkset file to write.")
@click.option("-n", "--count", default=1000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--grammar",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share that a grammar writes; the others recombine parts of captions.",
)
@click.option(
    "--longest",
    default=60,
    show_default=True,
    type=click.IntRange(min=1),
    help="Tokens of a caption, at most.",
)
@click.option("--sheet", type=_PATH, help="Draw a random sample with captions, as PNG.")
def synthesize(
    sources: tuple[Path, ...],
    output: Path,
    count: int,
    seed: int,
    grammar: float,
    longest: int,
    sheet: Path | None,
) -> None:
    """Make formulas that nobody has written, from the symbols of ink sets.

    Captions are put together from parts of those that there are, or follow a grammar learnt from
    them; symbols are taken from one writer where that is known; sizes and distances are drawn
    from those of the formulas. That needs ink whose strokes are known by symbol, as in CROHME.
    `inktex train --set augmentation.synthetic=0.5` makes new ones in every epoch, without a file.

    \b
    Examples:
      inktex data synthesize train.inkset -n 100000 -o synthetic.inkset
      inktex data synthesize train.inkset -n 1000 -o new.inkset --grammar 1 --sheet new.png
    """
    from ..core.errors import DataError
    from ..core.progress import Progress
    from .contact_sheet import contact_sheet, write_contact_sheet
    from .inkset import SUFFIX, fingerprint, load_inkset, save_inkset
    from .synthesis.captions import Writing
    from .synthesis.synthesizer import Synthesizer

    _check_suffix(output, SUFFIX)
    _check_outputs({"-o": output, "--sheet": sheet}, sources)
    known = [each for source in sources for each in load_inkset(source)]
    if not known:
        raise DataError("expected ink sets with formulas, found none in them; import some")
    shortest = min(len(each.caption) for each in known)
    if shortest > longest:
        raise DataError(
            f"--longest: expected at least {shortest} tokens, which the shortest formula of these "
            f"ink sets has, found {longest}"
        )
    synthesizer = Synthesizer(known, Writing(grammar=grammar, longest=longest))
    made = []
    with Progress(count, "formulas") as progress:
        for expression in synthesizer.expressions(count, seed):
            made.append(expression)
            progress.advance()
    save_inkset(output, made)
    if sheet is not None:
        write_contact_sheet(sheet, contact_sheet(made, output.name, seed=seed))
    click.echo(
        f"{output}: {len(made)} formulas with {len({each.caption for each in made})} captions, "
        f"{output.stat().st_size:,} bytes, fingerprint {fingerprint(made)}"
    )


@data.command()
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The file to write.")
def vocabulary(sources: tuple[Path, ...], output: Path) -> None:
    """Write all tokens of some ink sets, sorted, one a line, for `inktex train --vocabulary`.

    \b
    Example:
      inktex data vocabulary train.inkset mathwriting.inkset -o vocabulary.txt
    """
    from ..core.errors import DataError
    from ..core.vocabulary import SPECIAL_TOKENS, Vocabulary
    from .inkset import load_inkset
    from .vocabulary_file import write_vocabulary

    _check_outputs({"-o": output}, sources)
    captions = [each.caption for source in sources for each in load_inkset(source)]
    labelled = sum(map(bool, captions))
    if not labelled:
        raise DataError("expected ink sets with captions, found no token in them; import some")
    found = Vocabulary.from_captions(captions)
    write_vocabulary(output, found)
    click.echo(f"{output}: {len(found) - len(SPECIAL_TOKENS)} tokens of {labelled} captions")
