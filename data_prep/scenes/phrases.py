"""Captions of scenes: every phrasing names each object's size, colour and shape, the relations and the background."""

import random

from .layout import OPPOSITE, Combination, Item

# {a} {r} {b}: first object, relation, second object; {g}: background.
PAIR_PHRASES = (
    "{a} is {r} {b} on {g}",
    "on {g} {a} is {r} {b}",
    "there is {a} {r} {b} on {g}",
    "on {g} there is {a} {r} {b}",
    "the background is {w} and {a} is {r} {b}",
    "{g} with {a} {r} {b}",
)
# {c} {t}: third object and how it lies to the others.
TRIPLE_PHRASES = (
    "{a} is {r} {b} with {c} {t} both on {g}",
    "on {g} {a} is {r} {b} with {c} {t} both",
    "{g} with {a} {r} {b} and {c} {t} both",
    "{c} {t} both {a} and {b} {r2} it on {g}",
    "on {g} there is {c} {t} {a} {r} {b}",
    "{g} with {c} {t} both {a} and {b} {r2} it",
)


def _name(item: Item) -> str:
    return f"a {item.size} {item.colour} {item.shape}"


def describe(combination: Combination, rng: random.Random) -> str:
    """A caption in a random phrasing; either of the first two objects may be named first."""
    first, second, relation = combination.items[0], combination.items[1], combination.relation
    if rng.random() < 0.5:
        first, second, relation = second, first, OPPOSITE[relation]
    words = {
        "a": _name(first),
        "b": _name(second),
        "r": relation,
        "r2": OPPOSITE[relation],
        "g": f"a {combination.background} background",
        "w": combination.background,
    }
    if combination.third is None:
        return rng.choice(PAIR_PHRASES).format(**words)
    return rng.choice(TRIPLE_PHRASES).format(**words, c=_name(combination.items[2]), t=combination.third)
