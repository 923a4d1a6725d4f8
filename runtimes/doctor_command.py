"""`inktex doctor`: a self-test, for a report on what does not work."""

from __future__ import annotations

import json
import sys

import click

from . import options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@options.bundle("What to examine.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def doctor(bundle: str | None, as_json: bool) -> None:
    """Read a known formula with every variant of a bundle, and tell what went wrong.

    Exit status 1 if one that is for a runtime installed here fails. Send the output along with a
    report of what does not work.

    \b
    Examples:
      inktex doctor
      inktex doctor --bundle my-bundle --json
    """
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from ..core.bundle import Bundle
    from . import bundle_folder
    from .catalogue import Machine, statuses
    from .self_test import examine

    opened = Bundle.open(bundle_folder(bundle))
    versions = {"python": platform.python_version()}
    for package in ("inktex", "numpy", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    runtimes = {status.name: status for status in statuses()}
    versions |= {name: status.version or "missing" for name, status in runtimes.items()}
    machine, findings = Machine.present(), examine(opened)
    missing = {name for name, status in runtimes.items() if status.version is None}
    failed = [each for each in findings if not each.passed and each.runtime not in missing]
    if as_json:
        facts = {
            "versions": versions,
            "machine": machine.to_dict(),
            "bundle": str(opened.path),
            "findings": [each.to_dict() for each in findings],
        }
        click.echo(json.dumps(facts))
    else:
        click.echo(", ".join(f"{name} {number}" for name, number in versions.items()))
        click.echo(
            f"{machine.system} {machine.architecture}, {machine.processors} processors to use; "
            + (", ".join(machine.instructions) or "unknown instructions")
        )
        click.echo(f"{opened.path}: every file is as its manifest says\n")
        for each in findings:
            name = f"{each.runtime} {each.precision}"
            if each.passed:
                click.echo(
                    f"ok      {name}: {each.latex}  (loaded in {each.load_ms:.0f} ms, read in "
                    f"{each.read_ms:.0f} ms)"
                )
            elif each.runtime in missing:
                click.echo(f"absent  {name}: {runtimes[each.runtime].install}")
            else:
                click.echo(f"FAILED  {name}: {each.problem}")
    if failed:
        sys.exit(1)
