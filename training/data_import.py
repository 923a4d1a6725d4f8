"""Importing data sets as they are distributed: ink or images, from folders, zips and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.errors import DataError
from ..core.progress import Progress
from .captions import not_written
from .image_import import image_expression
from .import_report import ImportReport, Skip, check_text
from .import_settings import ImportSettings
from .ink_import import ink_expression
from .inkset import Expression
from .source_files import IMAGES, INK, STROKES, identifier_of, names, readers, told_apart


def import_data(
    paths: Sequence[Path], settings: ImportSettings | None = None
) -> tuple[list[Expression], ImportReport]:
    """Read all that lies at the paths, and show how far it is.

    A folder or zip that holds an InkML file is ink, with the JSON strokes in it, and its images are
    left alone, which the report counts. Any other one is images or, where there are none, JSON
    strokes.

    Returns:
        The expressions, in order of path and name, and a report of what was skipped and why.

    Raises:
        DataError: a path holds neither, images were found and no captions given, or a zip is
            damaged.
    """
    settings = settings or ImportSettings()
    report = ImportReport()
    expressions: dict[str, Expression] = {}
    kinds = [(path, _kind(path)) for path in paths]
    report.images_left = sum(len(names(path, IMAGES)) for path, kind in kinds if kind != IMAGES)
    report.strokes_left = sum(len(names(path, STROKES)) for path, kind in kinds if kind == IMAGES)
    found = [(path, name) for path, kind in kinds for name in names(path, kind)]
    told = {file: identifier_of(file[1]) for file in found}
    if settings.captions is not None:
        apart = told_apart(found, settings.captions.named_folders)
        identifiers, captions, report.without_file = settings.captions.of_files(apart.values())
        told = {file: identifiers[name] for file, name in apart.items()}
        settings = replace(settings, captions=captions)
    with Progress(len(found), "files read") as progress:
        for path, kind in kinds:
            if kind == IMAGES:
                _check_images(path, settings)
            build = image_expression if kind == IMAGES else ink_expression
            for name, contents in readers(path, kind):
                progress.advance()
                identifier = told[path, name]
                try:
                    if identifier in expressions:
                        raise Skip("an expression of this name was imported already")
                    check_text(identifier, "the name of the file")
                    expressions[identifier] = build(identifier, name, contents(), settings, report)
                except Skip as why:
                    report.skip(name, why)
    report.imported = len(expressions)
    report.not_written = not_written(expressions.values())
    return list(expressions.values()), report


def _kind(path: Path) -> tuple[str, ...]:
    """The suffixes of what is read there."""
    if names(path, INK):
        return (*INK, *STROKES)
    return STROKES if names(path, STROKES) and not names(path, IMAGES) else IMAGES


def _check_images(path: Path, settings: ImportSettings) -> None:
    if not names(path, IMAGES):
        raise DataError(
            f"expected a .zip or folder of .inkml files or of images ({' '.join(IMAGES)}) or of "
            f"JSON strokes, or one such file, at {path}, found none; unpack other archives "
            "first"
        )
    if settings.labelled and settings.captions is None:
        raise DataError(
            f"expected captions for the images in {path}, found none; name a table of them with "
            "--captions, or import --unlabelled"
        )
    if settings.splits:
        raise DataError(
            f"--split: expected ink that names its split, found images in {path}; leave it out"
        )
