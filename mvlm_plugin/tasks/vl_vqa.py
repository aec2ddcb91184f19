"""Visual question answering as a choice among the answers that the training questions often have."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fairseq.tasks import register_task

from ..data.answers import find_field, frequent_answers
from ..data.databin import DataBinError
from .pair_classification import PairClassificationConfig, PairClassificationTask

logger = logging.getLogger(__name__)


@dataclass
class VlVqaConfig(PairClassificationConfig):
    """Which answers there are to choose from."""

    num_answers: int = field(
        default=3129,
        metadata={"help": "choose among this many answers at most, the most frequent ones of the training questions"},
    )
    min_answer_count: int = field(
        default=1, metadata={"help": "training questions that an answer must have to be among them (VQA v2: 9)"}
    )


@register_task("vl_vqa", dataclass=VlVqaConfig)
class VlVqaTask(PairClassificationTask):
    """Answers as classes (Anderson et al., 2018): training questions without any of them are left out."""

    label_fields = ("answers", "answer")
    has_open_labels = True

    def find_classes(self) -> list[str]:
        """The most frequent answers of the training questions.

        Raises:
            ValueError: an option out of range.
            DataBinError: there is no answer.
        """
        if self.cfg.num_answers < 1 or self.cfg.min_answer_count < 1:
            raise ValueError("--num-answers and --min-answer-count must be at least 1")
        answers = frequent_answers(self._training_labels(), self.cfg.num_answers, self.cfg.min_answer_count)
        if not answers:
            raise DataBinError(
                f"no answer is found in {self.cfg.data} for --min-answer-count {self.cfg.min_answer_count}; name the "
                "label field with --label-field, and see mvlm-prep stats for those that there are."
            )
        logger.info("%d answers to choose from, among them %s", len(answers), ", ".join(answers[:5]))
        return answers

    def _training_labels(self) -> Iterator[Any]:
        for store in self.training_stores():
            name = find_field(store, self.cfg.label_field, self.label_fields)
            for text in range(len(store)) if name else ():
                yield (store.fields(text) or {}).get(name)
