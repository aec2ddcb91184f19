"""Which label fields a split has, for the manifest."""

from collections import Counter
from typing import Any


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "null")


class FieldTypes:
    """Collects the types of label fields."""

    def __init__(self) -> None:
        self._types: dict[str, Counter[str]] = {}
        self._total = 0

    def add(self, fields: dict[str, Any]) -> None:
        """Take the fields of a caption."""
        self._total += 1
        for name, value in fields.items():
            self._types.setdefault(name, Counter())[_type_name(value)] += 1

    def summary(self) -> dict[str, dict[str, Any]]:
        """By name: type (several joined by "or") and the number of captions without a value."""
        result = {}
        for name, counts in sorted(self._types.items()):
            present = {kind: count for kind, count in counts.items() if kind != "null"}
            kind = " or ".join(sorted(present)) or "null"
            result[name] = {"type": kind, "missing": self._total - sum(present.values())}
        return result
