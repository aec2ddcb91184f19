"""Label fields of texts as scores of classes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from .databin import DataBinError, read_manifest
from .store import PairStore
from .vqa_accuracy import agreement, normalize_answer

_normalized = lru_cache(maxsize=100_000)(normalize_answer)


def find_field(store: PairStore, asked: str, known: Sequence[str]) -> str:
    """The name of a split's label field; empty where it has none of them.

    Args:
        store: the split.
        asked: the name that the user gave; empty = the first of ``known`` that is there.
        known: usual names, best first.
    """
    present = read_manifest(store.folder)["splits"][store.name].get("fields") or {}
    return next((name for name in ([asked] if asked else known) if name in present), "")


def label_scores(label: Any) -> dict[str, float]:
    """How right every answer is that somebody gave, from 0 to 1; empty where there is no label.

    Args:
        label: one answer, taken without regard to case; or a list of people's answers as in VQA v2, normalised and
            scored as the official accuracy does it: by how many of the others gave the answer too, 3 being enough.
    """
    if label is None or label == "" or label == []:
        return {}
    if not isinstance(label, list):
        return {str(label).strip().casefold(): 1.0}
    counts = Counter(_normalized(str(answer)) for answer in label)
    people = len(label)
    if people == 1:
        return dict.fromkeys(counts, 1.0)
    return {answer: agreement(same, people) for answer, same in counts.items()}


def frequent_answers(labels: Iterable[Any], most: int, least_count: int) -> list[str]:
    """The answers that most texts have, the most frequent first and those of equal count by the alphabet.

    A text whose label is a list counts once, for the answer that most people gave (VQA's "multiple choice answer").

    Args:
        labels: of every text.
        most: answers at most.
        least_count: texts that an answer must have at least.
    """
    counts: Counter[str] = Counter()
    for label in labels:
        scores = label_scores(label)
        if scores:
            counts[max(scores, key=scores.__getitem__)] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [answer for answer, count in ordered[:most] if count >= least_count]


class Labels:
    """Scores of classes from the label fields of a text.

    Args:
        classes: their names.
        field: name of the label field.
        is_open: whether texts may have labels that are no class.
    """

    def __init__(self, classes: Sequence[str], field: str, is_open: bool) -> None:
        self.classes = list(classes)
        self.field = field
        self._is_open = is_open
        self._numbers = {name.casefold(): number for number, name in enumerate(classes)}

    def has_label(self, fields: dict[str, Any] | None) -> bool:
        """Whether a text has a label at all."""
        return bool(label_scores((fields or {}).get(self.field)))

    def scores(self, fields: dict[str, Any] | None) -> dict[int, float]:
        """Number of a class -> score above 0 and at most 1; empty where the text has no label, or none is a class.

        Raises:
            DataBinError: the label is no class, and all labels must be.
        """
        scores = label_scores((fields or {}).get(self.field))
        known = {self._numbers[name]: score for name, score in scores.items() if name in self._numbers}
        if scores and not known and not self._is_open:
            raise DataBinError(
                f"label {next(iter(scores))!r} of field {self.field!r} is none of {', '.join(self.classes)}; name "
                "the right field with --label-field, or prepare the data again without such texts."
            )
        return {number: score for number, score in known.items() if score > 0}
