"""How numbers are distributed: mean, percentiles and a histogram, from any number of values in bounded memory."""

from collections import Counter
from typing import Any

import numpy as np

PERCENTILES = (5, 25, 50, 75, 95)
_BINS = 20


class Distribution:
    """Counts values piece by piece, rounded to a unit; memory grows with how many different ones there are.

    Args:
        digits: decimal places that are kept.
    """

    def __init__(self, digits: int = 0) -> None:
        self._digits = digits
        self._counts: Counter[int] = Counter()

    def add(self, values: np.ndarray) -> None:
        """Take numbers of any shape."""
        units = np.rint(np.asarray(values) * 10.0**self._digits).astype(np.int64)
        different, counts = np.unique(units, return_counts=True)
        self._counts.update(dict(zip(different.tolist(), counts.tolist(), strict=True)))

    def summary(self) -> dict[str, Any] | None:
        """Figures of all values, or None without any.

        Returns:
            count, min, mean, max; percentiles: the smallest value that at least so many percent do not exceed;
            histogram: at most 20 bins of equal width with from, to (not included) and count.
        """
        if not self._counts:
            return None
        values = np.array(sorted(self._counts), dtype=np.int64)
        counts = np.array([self._counts[value] for value in values.tolist()], dtype=np.int64)
        running = np.cumsum(counts)
        total = int(running[-1])
        ranks = {share: int(np.searchsorted(running * 100, share * total)) for share in PERCENTILES}
        low, high = int(values[0]), int(values[-1])
        width = -(-(high - low + 1) // _BINS)
        bins = np.bincount((values - low) // width, weights=counts).astype(np.int64)
        return {
            "count": total,
            "min": self._value(low),
            "mean": round(float(values @ counts.astype(np.float64)) / total / 10**self._digits, 4),
            "max": self._value(high),
            "percentiles": {str(share): self._value(int(values[rank])) for share, rank in ranks.items()},
            "histogram": [
                {"from": self._value(low + i * width), "to": self._value(low + (i + 1) * width), "count": int(count)}
                for i, count in enumerate(bins)
            ],
        }

    def _value(self, units: int) -> int | float:
        return units if self._digits == 0 else round(units / 10**self._digits, self._digits)
