"""`inktex bench`: what recognition costs on this machine, and how profiles compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ..runtimes import options as reading
from .options import counts, names

if TYPE_CHECKING:
    from .profiler.profile import Profile

_T = TypeVar("_T")

_PATH = click.Path(path_type=Path)
_RUN = "run"


class _DefaultGroup(click.Group):
    """A group that takes what is none of its commands for the arguments of `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With `run` in front where no command is named."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_DefaultGroup)
def bench() -> None:
    """What recognition costs on this machine: `inktex bench [BUNDLE]`.

    Measures the recognizer that comes with inktex, or BUNDLE: time by stage, cold start, memory.
    `inktex bench run --help` tells all options. Leave the machine alone while it runs.

    \b
    Examples:
      inktex bench
      inktex bench my-bundle --data 2016.inkset --json mine.json
      inktex bench my-bundle --matrix
      inktex bench compare laptop.json jetson.json
    """


@bench.command(_RUN)
@click.argument("bundle", type=_PATH, required=False)
@click.option(
    "--data",
    type=_PATH,
    help="An ink set, or a zip or folder of InkML, JSON strokes or images. [default: the ink of "
    "18 formulas that comes with inktex]",
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N",
    help="Use only so many formulas, spread over the data.",
)  # fmt: skip
@click.option(
    "--runtime", "runtimes", callback=names, default="auto", show_default=True, metavar="LIST",
    help="As of `inktex recognize`, also onnxruntime:cuda; all takes every one that is here.",
)  # fmt: skip
@click.option(
    "--precision", "precisions", callback=names, default="auto", show_default=True,
    metavar="LIST", help="Which of the bundle's variants; all takes every one.",
)  # fmt: skip
@click.option(
    "--threads", callback=counts, default="1", show_default=True, metavar="LIST",
    help="Of the encoder; a step has one.",
)  # fmt: skip
@click.option(
    "--beam", "beams", callback=counts, default="1,5", show_default=True, metavar="LIST",
    help="Hypotheses to follow; 1 is greedy.",
)  # fmt: skip
@click.option(
    "--matrix", is_flag=True,
    help="Every runtime that is here x every precision x 1, 2, 4, ... threads x beams 1, 5, 10; "
    "of what is named beside it, only that.",
)  # fmt: skip
@reading.grammar
@click.option(
    "--baseline", "baselines", multiple=True, metavar="WORDS",
    callback=lambda context, parameter, values: tuple(
        names(context, parameter, each) for each in values
    ),
    help="What ratios are taken of, as in the tables: 'fp32', 'onnxruntime,int8,greedy'; what is "
    "left open is as in what is compared. May be given several times. [default: the first, with "
    "the same beams]",
)  # fmt: skip
@click.option(
    "--peer", "peers", multiple=True, metavar="NAME[,KEY=VALUE...]",
    help="What else to read the same ink with, in the same turns: edge, coverage, abm, "
    "mask_and_match or comer in eager PyTorch; pair, two ONNX graphs that re-feed their prefix; "
    "rapid_latex_ocr, pix2tex. Keys: from (checkpoint, folder; not of pix2tex), beam (not of "
    "packages), threads (of packages to show), precision (of a pair, to show), name (to show). May "
    "be given several times.",
)  # fmt: skip
@click.option(
    "--random-weights", is_flag=True,
    help="Peers may have random weights: they write as many tokens as the caption has.",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(min=1), default=1024, show_default=True, metavar="N",
    help="Formulas to read with each configuration, at least.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="S",
    help="How long to read with each, at least.",
)  # fmt: skip
@click.option(
    "--repeats", type=click.IntRange(min=1), default=5, show_default=True, metavar="N",
    help="How often to load everything anew; what differs between repeats is noise.",
)  # fmt: skip
@click.option(
    "--warm-up", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
    help="Formulas to read before, in each repeat, that do not count.",
)  # fmt: skip
@click.option(
    "--part", "parts", callback=names, default="all", show_default=True, metavar="LIST",
    help="What to measure: stream (one formula after the other), live (after every stroke), start "
    "(fresh processes), offline (throughput, batches, energy), roofline (operations, peaks).",
)  # fmt: skip
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write the profile as JSON.")
@click.option(
    "--html", "html_file", type=_PATH, metavar="FILE",
    help="Write a page with plots; needs `pip install 'inktex[bench]'`.",
)  # fmt: skip
def run(
    bundle: Path | None,
    data: Path | None,
    limit: int | None,
    runtimes: tuple[str, ...],
    precisions: tuple[str, ...],
    threads: tuple[int, ...],
    beams: tuple[int, ...],
    matrix: bool,
    grammar: bool,
    baselines: tuple[tuple[str, ...], ...],
    peers: tuple[str, ...],
    random_weights: bool,
    samples: int,
    seconds: float,
    repeats: int,
    warm_up: int,
    parts: tuple[str, ...],
    json_file: Path | None,
    html_file: Path | None,
) -> None:
    """Profile BUNDLE, by default the recognizer that comes with inktex.

    Formulas are read one after the other, as MLPerf's single-stream scenario has it; all
    configurations take turns at every formula, so that their ratios are fair. Ctrl-C ends the run;
    what was measured is reported, and marked: every formula, process and round of formulas that
    was finished, but nothing of unfinished batches and of an unfinished roofline.

    \b
    Examples:
      inktex bench --json laptop.json --html laptop.html
      inktex bench my-bundle --data 2016.inkset --runtime all --precision all --baseline fp32
      inktex bench --samples 200 --seconds 0 --part stream    a quick look
      inktex bench run my-bundle                              the same as inktex bench my-bundle
      inktex bench --peer abm,beam=10 --random-weights --part stream
    """
    from ..core.bundle import Bundle
    from ..core.replacement import check_writable
    from ..runtimes import bundle_folder
    from .peers.naming import peers_of
    from .profiler.page import check_page, write_page
    from .profiler.run import PARTS, Plan, profile_bundle
    from .profiler.single_stream import Effort
    from .profiler.terminal import as_text
    from .reporting import head

    unknown = [each for each in parts if each not in (*PARTS, "all")]
    if unknown:
        raise click.UsageError(f"--part: expected of {', '.join(PARTS)}, found {unknown[0]!r}")
    parts = PARTS if "all" in parts else parts
    if peers and "stream" not in parts:
        raise click.UsageError(
            "--peer: expected the part stream, in which alone peers take part, found --part "
            f"{','.join(parts)}; add stream, or leave --peer out"
        )
    if html_file is not None:
        check_page()
        check_writable(html_file, "--html")
        _check_other(html_file, json_file, "--html")
    environment: dict[str, Any] = head("bench", json_file, timed=True)["environment"]
    if matrix:
        runtimes = _unless_given("runtimes", runtimes, ("all",))
        precisions = _unless_given("precisions", precisions, ("all",))
        beams = _unless_given("beams", beams, (1, 5, 10))
        threads = _unless_given("threads", threads, _powers_of_two())
    plan = Plan(
        data=data,
        limit=limit,
        runtimes=runtimes,
        precisions=precisions,
        threads=threads,
        beams=beams,
        effort=Effort(samples, seconds, repeats, warm_up),
        constrain=grammar,
        baselines=baselines or ((),),
        parts=parts,
    )
    opened = Bundle.open(bundle_folder(bundle))
    others = peers_of(peers, opened, random_weights)
    profile = profile_bundle(opened, plan, environment, others)
    # what took so long is kept first: its reader may have gone away
    if json_file is not None and (file := _place(profile, json_file)) is not None:
        profile.save(file)
    if html_file is not None and (file := _place(profile, html_file)) is not None:
        write_page(profile, file)
    click.echo(as_text(profile))
    if profile.interrupted:
        sys.exit(130)


def _place(profile: Profile, file: Path) -> Path | None:
    """Where to write what is made of a profile: of an interrupted one beside what is there, and
    nowhere where nothing was measured."""
    if not profile.interrupted:
        return file
    if not profile.has_measured:
        click.echo(f"inktex: {file} is not written: nothing was measured", err=True)
        return None
    if not file.exists():
        return file
    beside = file.with_name(f"{file.stem}.interrupted{file.suffix}")
    click.echo(f"inktex: {file} stays as it is; what was measured is in {beside}", err=True)
    return beside


def _unless_given(name: str, given: _T, instead: _T) -> _T:
    """What an option of this command was given, or something in place of its default."""
    source = click.get_current_context().get_parameter_source(name)
    return given if source is ParameterSource.COMMANDLINE else instead


def _check_other(file: Path, profile: Path | None, option: str) -> None:
    """Refuse a file that would take the place of the profile."""
    if profile is not None and file.resolve() == profile.resolve():
        raise click.UsageError(f"{option}: expected another file than that of the profile, {file}")


def _powers_of_two() -> tuple[int, ...]:
    """1, 2, 4, … threads, as many as this process may use at most."""
    from ..runtimes.processors import available_processors

    most = available_processors()
    return tuple(2**power for power in range(most.bit_length()) if 2**power <= most)


@bench.command()
@click.argument("profiles", type=_PATH, nargs=-1, required=True, metavar="A.json B.json ...")
@click.option(
    "--strict", is_flag=True,
    help="End with status 1 where something got worse, or nothing was measured in both.",
)  # fmt: skip
def compare(profiles: tuple[Path, ...], strict: bool) -> None:
    """Put profiles side by side: machines, or versions of inktex.

    The others are compared with the first; slower beyond noise is marked REGRESSION. Profiles of
    different ink are refused.

    \b
    Examples:
      inktex bench compare before.json after.json --strict
      inktex bench compare laptop.json jetson.json phone-host.json
    """
    from .profiler.comparison import Comparison
    from .profiler.profile import Profile

    if len(profiles) < 2:
        raise click.UsageError("expected two profiles or more to compare, found one")
    found = Comparison(
        tuple(str(each) for each in profiles), tuple(Profile.load(each) for each in profiles)
    )
    click.echo(found)
    if strict and (not found.changes or any(each.regressed for each in found.changes)):
        sys.exit(1)


@bench.command()
@click.argument("profile", type=_PATH)
@click.option(
    "-o", "--output", type=_PATH, required=True, metavar="FILE", help="The page to write."
)
@click.option("--plots", type=_PATH, metavar="FOLDER", help="Write the plots as SVG files, too.")
def page(profile: Path, output: Path, plots: Path | None) -> None:
    """Make a page with plots of a profile that was written as JSON, on this or another machine.

    \b
    Examples:
      inktex bench page jetson.json -o jetson.html
      inktex bench page laptop.json -o laptop.html --plots docs/images/laptop
    """
    from ..core.replacement import check_writable
    from .profiler.page import write_page, write_plots
    from .profiler.profile import Profile

    check_writable(output, "-o")
    _check_other(output, profile, "-o")
    loaded = Profile.load(profile)
    write_page(loaded, output)
    if plots is not None:
        for file in write_plots(loaded, plots):
            click.echo(file)


@bench.command()
@click.argument("model", metavar="RECIPE|comer|CHECKPOINT")
@click.option(
    "-o", "--output", type=_PATH, required=True, metavar="FOLDER", help="Where the pair goes."
)
@click.option("--int8", is_flag=True, help="Quantise the weights of products in both graphs.")
def pair(model: str, output: Path, int8: bool) -> None:
    """Write a transformer as two ONNX graphs whose decoder takes the whole prefix in every step,
    for `--peer pair,from=FOLDER`: what exported CoMER models are like.

    The name of a recipe, or comer, which is that network at its published size, gives random
    weights and the tokens of the bundle that comes with inktex.

    \b
    Examples:
      inktex bench pair comer -o runs/comer --int8
      inktex bench --peer pair,from=runs/comer,precision=int8 --random-weights
    """
    from ..core.bundle import Bundle
    from ..runtimes import DEFAULT_BUNDLE
    from ..training.checkpoint import Checkpoint
    from .peers.eager import COMER, untrained
    from .peers.naming import RECIPES
    from .peers.pair_export import pair_graphs, write_pair

    if model in (*RECIPES, COMER):
        vocabulary = Bundle.open(DEFAULT_BUNDLE).manifest.vocabulary
        network, rendering = untrained(model, vocabulary)
    else:
        checkpoint = Checkpoint.load(Path(model))
        vocabulary, network = checkpoint.vocabulary, checkpoint.trained_network()
        rendering = checkpoint.recipe.rendering
    write_pair(pair_graphs(network, vocabulary, rendering), vocabulary, output, int8)
    click.echo(f"{output}: a pair{' in int8' if int8 else ''}")
