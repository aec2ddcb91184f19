"""Means over seeds, and differences that are paired over seeds, with standard errors."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Mean(NamedTuple):
    """A mean, its standard error (nan where there is one value only), and the number of values."""

    value: float
    error: float
    number: int

    def text(self, digits: int = 1) -> str:
        """``186.6 ± 1.2``; without the error where there is none."""
        if math.isnan(self.value):
            return ""
        error = "" if math.isnan(self.error) else f" ± {self.error:.{digits}f}"
        return f"{self.value:.{digits}f}{error}"


def mean_of(values: Sequence[float]) -> Mean:
    """Mean, and the sample's standard deviation divided by the root of the number of values."""
    if not values:
        return Mean(math.nan, math.nan, 0)
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(fmean(values), error, len(values))


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Mean:
    """Mean over the seeds that both have of first minus second; the seeds' differences are its sample."""
    return mean_of([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
