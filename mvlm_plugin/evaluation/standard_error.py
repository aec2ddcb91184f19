"""Standard errors that are robust to values that belong together, such as captions of one image."""

import math

from torch import Tensor


def clustered_error(sums: Tensor) -> float:
    """Standard error of a sum of residuals, which are summed within a cluster before squaring (Liang and Zeger, 1986).

    Args:
        sums: (C,) float64, the sum of the residuals of each cluster; together they are 0.

    Returns:
        The error, nan where there are fewer than two clusters.
    """
    count = sums.numel()
    return float((sums.square().sum() * count / (count - 1)).sqrt()) if count > 1 else math.nan
