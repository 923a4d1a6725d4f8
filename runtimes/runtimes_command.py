"""`inktex runtimes`: which runtimes are here, which are missing, and what would be chosen."""

from __future__ import annotations

import json

import click

from . import options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@options.bundle("Whose variants to choose from.")
@click.option("--measure", is_flag=True, help="Find the fastest anew, whatever is remembered.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def runtimes(bundle: str | None, measure: bool, as_json: bool) -> None:
    """List the runtimes, the machine, and what `auto` would choose of a bundle.

    \b
    Examples:
      inktex runtimes
      inktex runtimes --bundle my-bundle --json
      inktex runtimes --bundle my-bundle --measure
    """
    from ..core.bundle import Bundle
    from ..core.errors import RuntimeUnavailable
    from . import bundle_folder, choose
    from .cache_folder import cache_folder
    from .catalogue import Machine, statuses
    from .choice import forget

    opened = Bundle.open(bundle_folder(bundle))
    variants = [f"{each.target} {each.precision}" for each in opened.manifest.variants]
    if measure:
        forget(opened)
    chosen: str | None
    try:
        running = choose(opened)[0]
        chosen, why = f"{running.runtime} {running.precision}", running.why
    except RuntimeUnavailable as error:
        chosen, why = None, str(error)
    machine, found = Machine.present(), statuses()
    if as_json:
        facts = {
            "runtimes": [each.to_dict() for each in found],
            "machine": machine.to_dict(),
            "bundle": str(opened.path),
            "variants": variants,
            "auto": chosen,
            "why": why,
            "cache": str(cache_folder()),
        }
        click.echo(json.dumps(facts))
        return
    width = max(len(each.name) for each in found)
    for each in found:
        here = each.version or f"missing: {each.install}"
        click.echo(f"{each.name:<{width}}  {here:<28}  {each.runs_on}")
    memory = "" if machine.memory_gb is None else f", {machine.memory_gb:g} GB"
    instructions = ", ".join(machine.instructions) or "unknown instructions"
    click.echo(
        f"\nmachine: {machine.system} {machine.architecture}, {machine.processors} processors to "
        f"use{memory}; {instructions}"
    )
    click.echo(f"bundle:  {opened.path}: {', '.join(variants)}")
    click.echo(f"auto:    {chosen}, {why}" if chosen else f"auto:    {why}")
    click.echo(f"cache:   {cache_folder()}")
