"""Every wrong reading on one HTML page: image, reference and answer as mathematics, n-best.

The page needs nothing but itself: images are data URIs, mathematics is MathML, which browsers draw
by themselves.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from latex2mathml.converter import convert_to_element
from PIL import Image

from ..core import page
from ..core.alignment import EXTRA, MISSING, SAME, SUBSTITUTED, Pair, align
from ..core.errors import InputError
from ..core.latex_tree import layout_tree
from ..core.manifest import Preprocessing
from ..core.metrics import same_layout
from ..core.preparation import Source, prepare_image
from ..core.recognizer import Alternative
from ..core.structure import STRUCTURES, structures
from .error_analysis import PLAIN
from .evaluation import Reading, Sample
from .split import spread

UNREADABLE, SAME_LAYOUT = "unreadable", "same layout"
KINDS = (SUBSTITUTED, MISSING, EXTRA, SAME_LAYOUT, UNREADABLE)
"""What a page is filtered by: tokens misread, overlooked, too many; the layout tree is right all
the same; nothing could be read."""

_TEMPLATE = Path(__file__).parent / "data" / "error_page.html"

Marked = list[tuple[str, bool]]
"""Tokens, and whether each is marked as wrong."""


@dataclass(frozen=True)
class Case:
    """A wrong reading as the page shows it.

    Attributes:
        png: the image as the recognizer sees it, dark ink on white; None where there is none.
    """

    reading: Reading
    png: bytes | None

    @cached_property
    def pairs(self) -> list[Pair]:
        """The tokens of reference and answer, aligned."""
        return align(self.reading.caption, self.reading.tokens)

    @property
    def distance(self) -> int:
        """Token edits."""
        return sum(pair.kind != SAME for pair in self.pairs)

    @property
    def kinds(self) -> list[str]:
        """Those of `KINDS` and of the structures that this case is among."""
        if self.reading.problem:
            found = {UNREADABLE}
        else:
            found = {pair.kind for pair in self.pairs}
            if same_layout(self.reading.caption, self.reading.tokens):
                found.add(SAME_LAYOUT)
        own = structures(self.reading.caption) or {PLAIN}
        return [each for each in (*KINDS, *STRUCTURES, PLAIN) if each in found | own]

    @property
    def confidence(self) -> float:
        """That of the reading, 0 where nothing could be read."""
        return 0.0 if self.reading.problem else self.reading.confidence

    @property
    def image(self) -> str | None:
        """The PNG in base 64."""
        return None if self.png is None else base64.b64encode(self.png).decode()

    @property
    def reference(self) -> Marked:
        """The caption, its tokens marked that were missed or misread."""
        return [(each.reference, each.kind != SAME) for each in self.pairs if each.reference]

    @property
    def answer(self) -> Marked:
        """What was read, the tokens marked that the reference does not have there."""
        return [(each.prediction, each.kind != SAME) for each in self.pairs if each.prediction]

    @property
    def reference_mathml(self) -> str | None:
        """The reference to draw; None where only its source can be shown."""
        return mathml(self.reading.caption)

    @property
    def answer_mathml(self) -> str | None:
        """The answer to draw; None where only its source can be shown."""
        return mathml(self.reading.tokens)

    @cached_property
    def nbest(self) -> list[dict[str, Any]]:
        """All readings, the answer first; none where there is only the answer."""
        if not self.reading.alternatives:
            return []
        reading = self.reading
        answer = Alternative("", reading.tokens, reading.confidence, reading.score)
        return [
            {
                "tokens": self._marked(each.tokens),
                "mathml": mathml(each.tokens),
                "confidence": each.confidence,
                "score": each.score,
            }
            for each in (answer, *reading.alternatives)
        ]

    def _marked(self, tokens: Sequence[str]) -> Marked:
        pairs = align(self.reading.caption, tokens)
        return [(each.prediction, each.kind != SAME) for each in pairs if each.prediction]


def write_error_page(
    path: Path,
    title: str,
    facts: str,
    samples: Sequence[Sample],
    readings: Sequence[Reading],
    preprocessing: Preprocessing,
    limit: int | None = None,
) -> None:
    """Write the page; an existing file is replaced only when all is written.

    Args:
        title, facts: what was read by what and how, and how well: a heading and a line.
        samples: what the readings are of, in the same order.
        preprocessing: of the recognizer: the images are shown as it sees them.
        limit: the most wrong readings to show, spread over the data; by default all.
    """
    wrong = [
        (sample, reading)
        for sample, reading in zip(samples, readings, strict=True)
        if reading.caption != reading.tokens
    ]
    cases = [
        Case(reading, _png(sample.source, preprocessing))
        for sample, reading in spread(wrong, limit)
    ]
    page.write_page(
        path,
        _TEMPLATE,
        title=title,
        facts=facts,
        count=len(readings),
        wrong=len(wrong),
        cases=cases,
        kinds=KINDS,
        structures=(*STRUCTURES, PLAIN),
    )


def mathml(tokens: Sequence[str]) -> str | None:
    """A formula as presentation MathML.

    Returns:
        A `<math>` element, or None where the tokens are no well-formed formula, or one that the
        converter does not know.
    """
    try:
        layout_tree(tokens)  # the converter lets unbalanced braces pass
    except InputError:
        return None
    try:
        element = convert_to_element(" ".join(tokens))
    except Exception:  # it raises a dozen kinds that have nothing in common
        return None
    element.attrib.clear()  # HTML needs no name space
    element.set("displaystyle", "true")
    for each in element.iter():
        if each.text:
            each.text = html.unescape(each.text)  # it writes symbols as entities
    return ElementTree.tostring(element, encoding="unicode")


def _png(source: Source, preprocessing: Preprocessing) -> bytes | None:
    try:
        image = prepare_image(source, preprocessing)
    except InputError:
        return None
    stream = io.BytesIO()
    pixels = np.rint(255 * (1 - image[0, 0])).astype(np.uint8)
    Image.fromarray(pixels).save(stream, format="png", optimize=True)
    return stream.getvalue()
