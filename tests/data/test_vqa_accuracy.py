"""Worked examples of the official accuracy, by hand from its rules."""

import pytest

from mvlm_plugin.data.vqa_accuracy import answer_accuracy, normalize_answer


@pytest.mark.parametrize(
    ("same", "accuracy"),
    [
        # A person who is left out takes the own answer along: with 2 of 10 alike, 2 persons see 1/3 and 8 see 2/3.
        (0, 0.0),
        (1, 9 * (1 / 3) / 10),
        (2, (2 * (1 / 3) + 8 * (2 / 3)) / 10),
        (3, (3 * (2 / 3) + 7 * 1) / 10),
        (4, 1.0),
        (9, 1.0),
        (10, 1.0),
    ],
)
def test_three_others_that_agree_make_an_answer_right(same: int, accuracy: float) -> None:
    assert answer_accuracy("red", ["red"] * same + ["blue"] * (10 - same)) == pytest.approx(accuracy)


def test_answers_are_normalised_where_people_differ() -> None:
    people = ["Yes.", "the yes", "yes"] + ["no"] * 7
    assert answer_accuracy("YES", people) == pytest.approx(0.9)
    assert answer_accuracy("NO!", people) == 1.0


def test_an_answer_that_all_gave_is_compared_as_it_stands() -> None:
    assert answer_accuracy("t-shirt", ["t-shirt"] * 10) == 1.0
    assert answer_accuracy(" t-shirt\n", ["t-shirt\t"] * 10) == 1.0
    assert answer_accuracy("t shirt", ["t-shirt"] * 10) == 0.0
    assert answer_accuracy("t shirt", ["t-shirt"] * 9 + ["shirt"]) == 1.0
    # Blanks around an answer do not make people differ.
    assert answer_accuracy("t shirt", ["t-shirt"] * 9 + ["t-shirt "]) == 0.0


def test_a_single_answer_is_matched_exactly_after_normalisation() -> None:
    assert answer_accuracy("Two", ["2"]) == 1.0
    assert answer_accuracy("2 chairs", ["2"]) == 0.0


def test_a_question_without_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="without answers"):
        answer_accuracy("yes", [])


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The two dogs.", "2 dogs"),
        ("None", "0"),
        ("zero ONE ten eleven", "0 1 10 eleven"),
        ("an a the A", ""),
        # A mark inside a word becomes a space, one at the edge of a word goes, wherever it stands in the text.
        ("red/white", "red white"),
        ("red/ white/blue", "red whiteblue"),
        ("t-shirt", "t shirt"),
        ("what?", "what"),
        ("(yes)", "yes"),
        # A number with a comma in it makes all marks go.
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),
        ("a,b", "b"),
        ("1, 2", "1 2"),
        # A period stays before a digit only.
        ("1.5", "1.5"),
        (".5 p.m.", ".5 pm"),
        ("u.s.a.", "usa"),
        # Colons and apostrophes stay.
        ("10:30", "10:30"),
        ("dog's", "dog's"),
        # Contractions get back an apostrophe that is missing, not both; words that only look like one do not.
        ("DONT", "don't"),
        ("couldntve", "couldntve"),
        ("couldn'tve couldnt've", "couldn't've couldn't've"),
        ("lets ill wed", "lets ill wed"),
        ("somebody'd", "somebodyd"),
        ("so\nmany\tthings ", "so many things"),
        # The scorer's own slip: it takes away 32 periods at most.
        ("." * 40, "." * 8),
    ],
)
def test_normalisation(text: str, normalised: str) -> None:
    assert normalize_answer(text) == normalised
