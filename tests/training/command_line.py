"""The command line in tests: a tiny training, and the `inktex` command in this process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from inktex.core.cli import main
from inktex.training.allocator import KEEPING

TINY = (
    "model.widths=[4,8,8,8]",
    "model.blocks=[1,1,1]",
    "model.features=16",
    "model.heads=2",
    "model.hidden=32",
    "model.layers=2",
    "model.max_length=24",
    "optimisation.batch_size=4",
    "optimisation.precision=fp32",
    "validation_share=0.2",
)
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


def inktex(*arguments: str | Path) -> Result:
    """Run the command line here; with the allocator's variables set, `train` does not start the
    process anew."""
    runner = CliRunner(env=KEEPING)
    return runner.invoke(main, [str(each) for each in arguments])
