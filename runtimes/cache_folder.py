"""Where inktex keeps what it found out about this machine, and can find out again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "INKTEX_CACHE"
"""Names the folder in place of the system's."""


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
    home = home or Path.home()
    if system == "darwin":
        return home / "Library" / "Caches" / "inktex"
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / "inktex"
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "inktex"
