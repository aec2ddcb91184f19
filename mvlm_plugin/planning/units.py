"""Amounts as people write them."""

_PREFIXES = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_amount(text: str, base: int = 1024) -> int:
    """``80G`` -> 80 * base ** 3.

    Raises:
        ValueError: not a positive number with one of the prefixes K, M, G, T, P.
    """
    upper = text.strip().upper().removesuffix("IB").removesuffix("B")
    prefix = upper[-1:] if upper[-1:] in _PREFIXES else ""
    number = float(upper.removesuffix(prefix) if prefix else upper)
    if not 0 < number < float("inf"):
        raise ValueError(f"{text!r} is not a positive amount such as 80G")
    return int(number * base ** _PREFIXES[prefix])


def show_bytes(count: float) -> str:
    """``1610612736`` -> ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def show_seconds(seconds: float) -> str:
    """``0.25`` -> ``250 ms``, ``90`` -> ``90.0 s``."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def show_count(count: float) -> str:
    """``296206940`` -> ``296.2 M``."""
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count / 1e3:.1f} K"
