"""Where a training that goes on may write."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import DataError


def check_free(last: Path, resume: Path | None, what: str = "a training") -> None:
    """Raise DataError where there is one already, other than the one that goes on.

    Args:
        last: the file that the training is to leave.
        resume: the one that it goes on from.
    """
    if last.exists() and not (resume and resume.exists() and last.samefile(resume)):
        raise DataError(
            f"{last.parent} holds {what} already; name another folder with -o, or go on with "
            f"--resume {last}"
        )
