"""The official accuracy of VQA v2: an answer is right as far as the people who were asked agree with it.

Source: Antol et al., *VQA: Visual Question Answering*, 2015, and the scorer of its authors as corrected in March 2021
(GT-Vision-Lab/VQA, vqaEval.py), whose peculiarities are kept, since figures in papers come from it.
"""

import re
from collections.abc import Sequence

_ENOUGH = 3  # an answer that three others gave is fully right
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBER_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32  # the scorer removes no more, by an accident that is part of the protocol
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_DIGITS)} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
# The scorer's table of contractions is these forms, each found by itself with any one apostrophe left out.
_CONTRACTIONS = """
    'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've
    must've mustn't needn't not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've
    something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've wasn't
    we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll
    who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd
    you'd've you'll you're you've
"""
_REPAIRED = {
    form[:position] + form[position + 1 :]: form
    for form in _CONTRACTIONS.split()
    for position, character in enumerate(form)
    if character == "'"
} | {"somebody'd": "somebodyd"}


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str) -> str:
    """Marks at the edge of a word, or in a text with a number like 1,000, go; others become a space; periods go."""
    numbers = _NUMBER_COMMA.search(text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        at_edge = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if at_edge or numbers else " ")
    return _PERIOD.sub("", cleaned, count=_MOST_PERIODS)


def normalize_answer(text: str) -> str:
    """An answer as the official scorer compares it.

    Lower case, no punctuation, no articles, numbers up to ten in digits, apostrophes of contractions put back:
    ``"The two dogs."`` -> ``"2 dogs"``.
    """
    words = (_NUMBERS.get(word, word) for word in _without_punctuation(_one_line(text)).lower().split())
    return " ".join(_REPAIRED.get(word, word) for word in words if word not in _ARTICLES)


def agreement(same: int, people: int) -> float:
    """How right an answer is that ``same`` of ``people`` (at least 2) gave, from 0 to 1.

    Against the answers of all people but one, it is min(number that agree / 3, 1); this is averaged over whom to leave
    out.
    """
    of_same, of_others = min((same - 1) / _ENOUGH, 1), min(same / _ENOUGH, 1)
    return (same * of_same + (people - same) * of_others) / people


def answer_accuracy(answer: str, human_answers: Sequence[str]) -> float:
    """How right an answer is, from 0 to 1; see agreement().

    As in the official scorer, texts are compared as they are where all people gave the same answer, and normalised
    otherwise. Data with one answer a question has nobody to agree with: there it is 1 for the same normalised answer.

    Raises:
        ValueError: there is no human answer.
    """
    if not human_answers:
        raise ValueError("a question without answers cannot be scored")
    given, people = _one_line(answer), [_one_line(human) for human in human_answers]
    if len(people) == 1:
        return float(normalize_answer(given) == normalize_answer(people[0]))
    if len(set(people)) > 1:
        given, people = normalize_answer(given), [normalize_answer(human) for human in people]
    return agreement(people.count(given), len(people))
