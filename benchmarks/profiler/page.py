"""A profile as one page for people, that needs nothing but itself."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

from ...core import page
from ...core.errors import RuntimeUnavailable
from ...core.replacement import make_folder, replacing
from .profile import Profile
from .terminal import introduction, sections

_TEMPLATE = Path(__file__).parent.parent / "data" / "profile.html"
_NEEDED = ("jinja2", "matplotlib")


def check_page() -> None:
    """See whether a page can be made, before anything is measured for it.

    Raises:
        RuntimeUnavailable: what it takes is not installed.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise RuntimeUnavailable(
            f"--html: a page needs {' and '.join(missing)}; pip install 'inktex[bench]', or write "
            "--json here and make the page elsewhere, with `inktex bench page FILE`"
        )


def write_plots(profile: Profile, folder: Path) -> list[Path]:
    """Write the plots as files, named after their sections and numbered.

    Raises:
        RuntimeUnavailable: what it takes is not installed.
        DataError: a file cannot be written.
    """
    check_page()
    from .plots import plots

    make_folder(folder, "--plots")
    files = []
    for number, (title, svg) in enumerate(plots(profile), start=1):
        name = "-".join(title.lower().replace(",", "").split())
        files.append(folder / f"{number:02}-{name}.svg")
        with replacing(files[-1]) as partial:
            partial.write_text(svg, encoding="utf-8")
    return files


def write_page(profile: Profile, path: Path) -> None:
    """Write it; an existing file is replaced only when all is written.

    Raises:
        RuntimeUnavailable: what it takes is not installed.
        DataError: the file cannot be written.
    """
    check_page()
    from .plots import plots

    drawn = defaultdict(list)
    for number, (title, svg) in enumerate(plots(profile), start=1):
        drawn[title].append(_with_own_names(svg, f"plot-{number}-"))
    page.write_page(
        path,
        _TEMPLATE,
        command=profile.command,
        facts=introduction(profile),
        sections=list(sections(profile)),
        drawn=drawn,
    )


def _with_own_names(svg: str, prefix: str) -> str:
    """A drawing whose names no other on the page has: matplotlib calls the parts of all alike."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)
