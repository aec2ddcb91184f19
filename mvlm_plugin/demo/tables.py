"""Tables of words and captions, as HTML. Texts are escaped: captions and vocabularies come from outside."""

import html
from collections.abc import Sequence

from ..interface.model import MASKS

Guesses = list[tuple[str, float]]  # words with their probabilities, best first


def guesses_table(caption: str, own: Sequence[Guesses], other: Sequence[Guesses]) -> str:
    """The caption, and for each mask the words guessed with the own and with the other photo."""
    parts = [html.escape(part) for part in MASKS.split(caption)]
    marked = "".join(
        f"{part}<mark>{number}</mark>" if number < len(parts) else part for number, part in enumerate(parts, start=1)
    )
    rows = "".join(
        f"<tr><th>{number}</th><td>{_bars(right)}</td><td>{_bars(wrong)}</td></tr>"
        for number, (right, wrong) in enumerate(zip(own, other, strict=True), start=1)
    )
    head = "<tr><th></th><th>with the photo</th><th>with the wrong photo</th></tr>"
    return f'<p class="caption">{marked}</p><table class="guesses">{head}{rows}</table>'


def _bars(guesses: Guesses) -> str:
    return "".join(
        f'<div class="bar"><span style="width:{100 * min(max(p, 0.0), 1.0):.1f}%"></span>'
        f"<b>{html.escape(word)}</b><i>{100 * p:.1f} %</i></div>"
        for word, p in guesses
    )


def captions_table(rows: Sequence[tuple[str, float, float | None, bool]]) -> str:
    """Captions that were found, as (caption, similarity, probability or None, whether it is the photo's own)."""
    lines = "".join(
        f"<tr{' class=own' if is_own else ''}><th>{number}</th><td>{html.escape(caption)}{' ✓' if is_own else ''}</td>"
        f"<td>{similarity:.2f}</td><td>{'' if matched is None else f'{100 * matched:.0f} %'}</td></tr>"
        for number, (caption, similarity, matched, is_own) in enumerate(rows, start=1)
    )
    head = "<tr><th></th><th>caption</th><th>similarity</th><th>match</th></tr>"
    return f'<table class="found">{head}{lines}</table>'
