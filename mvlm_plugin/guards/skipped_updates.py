"""Updates whose loss or gradient is not finite: they are skipped and listed, and too many in a row end the run."""

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from ..data.pair_list import PairList, append_pairs
from ..distributed import rank

logger = logging.getLogger(__name__)


class NotFiniteError(RuntimeError):
    """Losses or gradients are not finite, and skipping updates does not help."""


class SkippedUpdates:
    """Counts updates that are skipped one after the other.

    Args:
        limit: so many end the run.

    Raises:
        ValueError: a limit below 1.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"--max-skipped-updates {limit} must be at least 1")
        self._limit = limit
        self._in_a_row = 0
        self._losses: list[Tensor] = []

    def begin(self) -> None:
        """An update begins."""
        self._losses = []

    def saw(self, loss: Tensor) -> None:
        """Take note of the loss of a batch of the update."""
        self._losses.append(loss.detach())

    def marked(self, grad_norm: Tensor) -> Tensor:
        """The gradient's norm on the host, where fairseq reads it: nan if a loss of this rank is not finite."""
        for loss in self._losses:
            grad_norm = grad_norm + 0.0 * loss.to(grad_norm.device)
        return grad_norm.cpu()

    def made(self) -> None:
        """The update was made."""
        self._in_a_row = 0

    def skip(
        self, update: int, epoch: int, grad_norm: str, pairs: Sequence[PairList], model: nn.Module, folder: Path
    ) -> None:
        """List this rank's pairs of an update that was not made.

        Args:
            update: number that the update would have had.
            epoch: masks and crops of the pairs belong to it.
            grad_norm: for the message.
            pairs: of this rank.
            model: its weights are as before the update.
            folder: --save-dir.

        Raises:
            NotFiniteError: as many as allowed were skipped in a row, or the forward pass left values that are not
                finite in the model's statistics.
        """
        self._in_a_row += 1
        losses = [float(loss) for loss in self._losses]
        path = folder / f"skipped_updates.rank{rank()}.jsonl"
        notes = {"update": update, "epoch": epoch, "grad_norm": grad_norm, "losses": [str(loss) for loss in losses]}
        append_pairs(path, pairs, **notes)
        logger.warning(
            "update %d skipped, %d in a row: gradient norm %s, losses of this rank %s; its pairs are in %s (mvlm-prep "
            "show DATABIN --ids FILE)",
            update, self._in_a_row, grad_norm, losses, path,
        )  # fmt: skip
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point() and not buffer.isfinite().all():
                raise NotFiniteError(
                    f"the model's statistics {name} took in values that are not finite at update {update} (its pairs: "
                    f"{path}); go on from the last checkpoint, without --train-batch-norm or with a lower --lr"
                )
        if self._in_a_row >= self._limit:
            raise NotFiniteError(
                f"{self._in_a_row} updates in a row had a loss or gradient that is not finite (--max-skipped-updates "
                f"{self._limit}); their pairs are in {path}: look at them with mvlm-prep show DATABIN --ids {path}. If "
                "they are sound, go on from an earlier checkpoint with a lower --lr or a longer warm-up."
            )
