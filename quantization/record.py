"""What a long measurement has found so far, in a file, so that an interrupted one goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from ..core.replacement import replacing

T = TypeVar("T")


class Record:
    """Findings by name, each written to the file as soon as it is there.

    Args:
        path: None keeps them in memory alone.
        question: all that the findings depend on, free JSON; a file of another question is begun
            anew.

    Attributes:
        others: how many findings of another question the file holds, which would be lost.
    """

    def __init__(self, path: Path | None, question: Mapping[str, Any]) -> None:
        self.path = path
        self._asked = sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        self._found: dict[str, Any] = {}
        self.others = 0
        if path is not None and path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                if content["question"] == self._asked:
                    self._found = dict(content["found"])
                else:
                    self.others = len(content["found"])
            except (OSError, ValueError, TypeError, KeyError):
                pass  # cut off, or of something else: it is measured again

    @property
    def count(self) -> int:
        """How many findings there are."""
        return len(self._found)

    def get(
        self, name: str, measure: Callable[[], T], holds: Callable[[T], bool] = lambda found: True
    ) -> T:
        """A finding, which is measured where it is not there yet.

        Args:
            measure: gives something that is the same after a journey through JSON.
            holds: whether a finding that is there is still an answer; else it is measured anew.
        """
        if name in self._found and not holds(self._found[name]):
            del self._found[name]  # nor is it one where measuring fails
        if name not in self._found:
            self._found[name] = measure()
            self._write()
        found: T = self._found[name]
        return found

    def those(self, prefix: str) -> list[Any]:
        """The findings whose names begin so, in the order in which they were found."""
        return [found for name, found in self._found.items() if name.startswith(prefix)]

    def remove(self) -> None:
        """Delete the file: what was asked is answered."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self.path is None:
            return
        text = json.dumps({"question": self._asked, "found": self._found})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as partial:
            partial.write_text(text, encoding="utf-8")
