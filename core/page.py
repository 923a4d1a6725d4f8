"""A page of HTML from a template, for the reports that are looked at in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .replacement import replacing


def write_page(path: Path, template: Path, **values: Any) -> None:
    """Fill a template of Jinja and write it; an existing file is replaced only when all is written.

    Jinja is no part of the device install: those who write pages bring it.

    Args:
        template: values in it are escaped, and one that is missing is an error.

    Raises:
        DataError: the file cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template.name).render(values)
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")
