"""How many pairs fit into a device's memory."""

from dataclasses import replace

from .memory import StepMemory, step_memory
from .step import StepOptions

# Left to the device's context, its libraries' workspaces and the allocator's gaps.
FREE_SHARE = 0.10
# Batches from which larger ones are extrapolated; every result is then counted at its own size.
_PROBES = (8, 24)
_ROUNDS = 4


class MemoryOf:
    """Bytes of a step by its number of pairs, each size counted once.

    Args:
        options: of the step.
        processes: in the job; with several, gradients are held a second time in the buffers of their exchange.
        device: whose kernels to assume; see step_memory().
        accumulates: see step_memory().
    """

    def __init__(self, options: StepOptions, processes: int, device: str, accumulates: bool = False) -> None:
        self.options, self.processes, self.device, self.accumulates = options, processes, device, accumulates
        self._known: dict[int, StepMemory] = {}

    def step(self, pairs: int) -> StepMemory:
        """The parts of what is needed.

        A step in many chunks (feature_cache_chunk) is extrapolated from one in two and one in four. What grows with the
        square of the pairs, the similarities of the contrastive loss, is therefore missing in it.
        """
        if pairs not in self._known:
            chunk = self.options.feature_cache_chunk
            if chunk and pairs > 4 * chunk:
                self._known[pairs] = _extrapolated(self.step(2 * chunk), self.step(4 * chunk), (pairs / chunk - 2) / 2)
            else:
                chunk = min(chunk, pairs)
                options = replace(self.options, feature_cache_chunk=chunk)
                self._known[pairs] = step_memory(options, pairs, self.device, self.accumulates)
        return self._known[pairs]

    def exchange(self, pairs: int) -> int:
        """Bytes of the buffers in which processes exchange gradients."""
        return self.step(pairs).trained if self.processes > 1 else 0

    def total(self, pairs: int) -> int:
        """Bytes on one device, what must stay free not counted."""
        return self.step(pairs).total + self.exchange(pairs)

    def largest(self, memory: int) -> int:
        """The most pairs that fit into so many bytes; 0 where not even one does."""
        budget = int(memory * (1 - FREE_SHARE))
        low, high = _PROBES
        slope = (self.total(high) - self.total(low)) / (high - low)
        guess = int(low + (budget - self.total(low)) / slope)
        for _ in range(_ROUNDS):
            guess = max(guess, 1)
            spare = budget - self.total(guess)
            if spare >= 0:
                return guess
            if guess == 1:
                return 0
            guess -= max(1, int(-spare / slope + 1))
        return 0


def _extrapolated(first: StepMemory, second: StepMemory, factor: float) -> StepMemory:
    """first + factor * (second - first), part by part."""
    parts = first.at_peak.keys() | second.at_peak.keys()
    one, two = first.at_peak, second.at_peak
    at_peak = {part: int(one.get(part, 0) + factor * (two.get(part, 0) - one.get(part, 0))) for part in parts}
    return replace(first, at_peak=at_peak)
