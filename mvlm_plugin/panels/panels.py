"""When panels are drawn, what goes into them, and what they may cost."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from fairseq import metrics, utils
from torch import Tensor, nn

from ..data.tokenizers import CaptionTokenizer, load_tokenizer
from ..distributed import rank
from ..evaluation.pretraining import COLUMNS, evaluate_group
from ..models.mvlm import MvlmModel
from .captions import word_tables
from .gradient_norms import gradient_norms
from .held_out import HeldOut, choose_pairs
from .predictions import predict
from .sheet import draw_sheet, make_rows
from .untouched import untouched

logger = logging.getLogger(__name__)

# A larger share of a run's time than this is worth a word.
_MOST_TIME = 0.02


class Panels:
    """Panels of one training, in the folder ``panels`` of --tensorboard-logdir; drawn by the first process alone.

    They come at fixed updates. A step of a panel's batches costs about as much as one of the training whatever the
    model's size, so that a fixed interval is a fixed share of the time, and two runs can be laid side by side.

    Args:
        cfg: the task's options, with those of PanelConfig and GlobalBatchConfig.
        source: the task's DataSource.
        autocast: the task's Autocast.

    Raises:
        ValueError: an option out of range.
    """

    def __init__(self, cfg: Any, source: Any, autocast: Any) -> None:
        if cfg.panel_interval < 0:
            raise ValueError(f"--panel-interval {cfg.panel_interval} must be at least 0")
        if cfg.panel_pairs < 1:
            raise ValueError(f"--panel-pairs {cfg.panel_pairs} must be at least 1")
        self.cfg = cfg
        self.failures = 0
        self._source = source
        self._autocast = autocast
        self._held_out: HeldOut | None = None
        self._tokenizer: CaptionTokenizer | None = None
        self._writer: Any = None
        self._is_off = not (cfg.panel_interval and cfg.tensorboard_logdir)
        self._began: float | None = None
        self._spent = 0.0
        self._is_warned = False

    def after_update(self, update: int, model: nn.Module, criterion: Any) -> None:
        """Draw, if panels are due; called by every process after every update. No failure of a panel gets out.

        Args:
            update: number of updates made.
            model: MvlmModel, or a wrapper around it.
            criterion: whose losses are trained.
        """
        if self._is_off or rank() != 0:
            return
        started = time.perf_counter()
        self._began = self._began or started
        if update % self.cfg.panel_interval:
            return
        inner = next(module for module in model.modules() if isinstance(module, MvlmModel))
        try:
            with untouched(inner):
                self._draw(update, inner, criterion)
            self._spent += time.perf_counter() - started
            self._report_cost(update)
            self._writer.flush()
        except Exception as error:  # whatever it is: a panel is not worth a training
            self._failed(update, error)

    def _draw(self, update: int, model: MvlmModel, criterion: Any) -> None:
        if self._writer is None:
            self._prepare()
        assert self._held_out is not None
        assert self._tokenizer is not None
        device = next(model.parameters()).device
        drawn, differentiated, judged = (
            utils.move_to_cuda(batch, device) if device.type == "cuda" else batch for batch in self._held_out
        )
        with self._autocast.region(device):
            predictions = predict(model, drawn)
            figures = evaluate_group(model, judged).figures
        rows = make_rows(model, self._held_out.drawn, predictions, self._tokenizer, self.cfg.panel_pairs)
        self._writer.add_image("pairs", np.asarray(draw_sheet(rows)), update, dataformats="HWC")
        self._writer.add_text("words", word_tables(self._tokenizer, self._held_out.drawn, predictions), update)
        self._scalars(update, {"temperature": model.contrastive.temperature.detach(), **_gains(figures)})
        norms = gradient_norms(model, criterion, differentiated, self._autocast.region(device))
        self._scalars(update, {f"gradient_norm/{name}": norm for name, norm in norms.items()})

    def _prepare(self) -> None:
        """Open what all panels share. What cannot be opened now cannot be later: there are no panels then."""
        self._is_off = True
        from torch.utils.tensorboard import SummaryWriter

        split = str(self.cfg.valid_subset).split(",")[0]
        size = self.cfg.feature_cache_chunk or self.cfg.batch_size
        self._held_out = choose_pairs(self._source.open(split, 1), self.cfg.panel_pairs, size)
        self._tokenizer = load_tokenizer(self._source.shards()[0])
        self._tokenizer.dictionary = self._source.dictionary
        self._writer = SummaryWriter(str(Path(self.cfg.tensorboard_logdir) / "panels"))
        self._is_off = False

    def _scalars(self, update: int, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), update)

    def _report_cost(self, update: int) -> None:
        """The share of the time since the first update that panels took; a large one is said once."""
        assert self._began is not None
        share = self._spent / (time.perf_counter() - self._began)
        self._scalars(update, {"panels/share_of_time": share})
        # The first panel also opens files: the share is judged from the second one on.
        if share > _MOST_TIME and update >= 2 * self.cfg.panel_interval and not self._is_warned:
            self._is_warned = True
            logger.warning(
                "panels take %.1f %% of the time; --panel-interval %d would take half of that",
                100 * share, 2 * self.cfg.panel_interval,
            )  # fmt: skip

    def _failed(self, update: int, error: Exception) -> None:
        """Count it, and say the first one; training goes on."""
        self.failures += 1
        metrics.log_scalar_sum("failed_panels", 1, priority=40)
        if self._is_off:
            logger.warning(
                "no panels are drawn: %s: %s (the pairs come from the first --valid-subset; --valid-subset train takes "
                "pairs of the training; --panel-interval 0 switches panels off)",
                type(error).__name__, error,
            )  # fmt: skip
        elif self.failures == 1:
            logger.warning(
                "the panels of update %d failed, and training goes on: %s: %s; further ones are counted as "
                "failed_panels",
                update, type(error).__name__, error,
            )  # fmt: skip


def _gains(figures: Tensor) -> dict[str, Tensor]:
    """Conditioning gains of a group, means over the pairs that have another partner; see evaluate_group()."""
    has_partner = figures[:, COLUMNS.index("has_partner")] > 0
    return {
        f"conditioning_gain/{name}": figures[has_partner, COLUMNS.index(f"{name}_gain")].mean()
        for name in ("mlm", "mim")
    }
