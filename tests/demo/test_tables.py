"""Tables of the page: all that should be there, and no text that acts as HTML."""

import re

from mvlm_plugin.demo.tables import captions_table, guesses_table


def test_guesses_stand_beside_each_other_for_each_mask() -> None:
    page = guesses_table("a [MASK] on [MASK] .", [[("dog", 0.5)], [("snow", 0.25)]], [[("cat", 0.5)], [("sand", 1.0)]])
    assert page.startswith('<p class="caption">a <mark>1</mark> on <mark>2</mark> .</p>')
    rows = page.split("<tr>")[2:]
    assert [re.findall("<b>(.*?)</b>", row) for row in rows] == [["dog", "cat"], ["snow", "sand"]]
    assert "width:25.0%" in rows[1]
    assert "25.0 %" in rows[1]


def test_captions_with_scores() -> None:
    page = captions_table([("a dog", 0.5, None, False), ("a cat", 0.25, 0.125, True)])
    first, second = page.split("<tr")[2:]
    assert "0.50" in first
    assert "✓" not in first
    assert "a cat ✓" in second
    assert "12 %" in second


def test_texts_from_outside_are_escaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    for page in (
        guesses_table(f"{evil} [MASK]", [[(evil, 0.5)]], [[(evil, 0.5)]]),
        captions_table([(evil, 0, 0, True)]),
    ):
        assert "<img" not in page
        assert "&lt;img" in page
