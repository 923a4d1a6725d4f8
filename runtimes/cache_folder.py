"""Where inktex keeps what it found out about this machine, and can find out again."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "INKTEX_CACHE"
"""Names the folder in place of the system's."""

_PLACES = {"darwin": ("", "Library/Caches"), "win32": ("LOCALAPPDATA", "AppData/Local")}
"""By system: the variable that names where caches belong, and where that is else in a home."""


def cache_folder(
    environment: Mapping[str, str] = os.environ,
    system: str = sys.platform,
    home: Path | None = None,
) -> Path:
    """The folder, which need not exist: `INKTEX_CACHE`, or `inktex` where caches belong.

    >>> cache_folder({"XDG_CACHE_HOME": "/cache"}, "linux").as_posix()
    '/cache/inktex'
    """
    if named := environment.get(VARIABLE):
        return Path(named)
    variable, below = _PLACES.get(system, ("XDG_CACHE_HOME", ".cache"))
    if variable and (named := environment.get(variable)):
        return Path(named) / "inktex"
    try:
        return (home or Path.home()) / below / "inktex"
    except RuntimeError:  # of a user whom the system does not know, as in some containers
        return Path(tempfile.gettempdir()) / "inktex"
