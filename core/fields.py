"""Typed fields of a JSON object, with every problem noted under the path of its field."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")
_MISSING = object()


class Fields:
    """Reads typed fields of one JSON object; notes every problem instead of stopping at the first.

    A field that is missing or of another type gives a line in `problems` and a stand-in value;
    whoever builds something from the values looks at `problems` first.

    >>> problems = []
    >>> Fields({"size": "big"}, "files['a']", problems).whole("size")
    1
    >>> problems
    ["files['a'].size: expected a whole number, found str 'big'"]
    """

    def __init__(self, content: object, where: str, problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self.content: dict[str, object] = {}
        if isinstance(content, dict):
            self.content = content
        else:
            self.note(where or "the document", "an object", content)

    def note(self, where: str, expected: str, found: object) -> None:
        """Note that `expected` was not what was found at the path `where`."""
        shown = "nothing" if found is _MISSING else f"{type(found).__name__} {str(found)[:40]!r}"
        self.problems.append(f"{where}: expected {expected}, found {shown}")

    def path(self, name: str) -> str:
        """The path of the field `name`, as `variants[0].encoder`."""
        return f"{self.where}.{name}" if self.where else name

    def is_null(self, name: str) -> bool:
        """Whether the field is there and is null."""
        return self.content.get(name, _MISSING) is None

    def text(self, name: str) -> str:
        """The text in the field."""
        return self._get(name, str, "text", "")

    def whole(self, name: str) -> int:
        """The whole number in the field."""
        return self._get(name, int, "a whole number", 1)

    def number(self, name: str) -> float:
        """The number in the field."""
        found = self.content.get(name)
        if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 1 << 1023:
            return float(found)
        return self._get(name, float, "a number", 1.0)

    def flag(self, name: str) -> bool:
        """Whether the field says so."""
        found = self.content.get(name, _MISSING)
        if not isinstance(found, bool):
            self.note(self.path(name), "true or false", found)
        return found is True

    def mapping(self, name: str) -> dict[str, object]:
        """The object in the field, as it is."""
        return self._get(name, dict, "an object", {})

    def nested(self, name: str) -> Fields:
        """The fields of the object in the field."""
        if name not in self.content:
            self.note(self.path(name), "an object", _MISSING)
            return Fields({}, self.path(name), [])  # what is missing as a whole is named once
        return Fields(self.content[name], self.path(name), self.problems)

    def objects(self, name: str) -> list[Fields]:
        """The fields of every object in a list of objects."""
        return [
            Fields(each, f"{self.path(name)}[{number}]", self.problems)
            for number, each in enumerate(self._get(name, list, "a list", []))
        ]

    def named(self, name: str) -> dict[str, Fields]:
        """The fields of every object in a mapping from names to objects."""
        return {
            key: Fields(each, f"{self.path(name)}[{key!r}]", self.problems)
            for key, each in self.mapping(name).items()
        }

    def items(self, name: str, kinds: type | tuple[type, ...], expected: str) -> list[object]:
        """The list in the field, each item of one of `kinds`."""
        found: list[object] = self._get(name, list, "a list", [])
        for number, each in enumerate(found):
            if not isinstance(each, kinds) or isinstance(each, bool):
                self.note(f"{self.path(name)}[{number}]", expected, each)
        return found

    def _get(self, name: str, kind: type[T], expected: str, stand_in: T) -> T:
        found = self.content.get(name, _MISSING)
        if isinstance(found, kind) and not isinstance(found, bool):
            return found
        self.note(self.path(name), expected, found)
        return stand_in
