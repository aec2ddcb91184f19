"""fairseq's training loop, and what it forgets when a run goes on: its end, its patience, an epoch's validation."""

import logging
import sys
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)

# Key of the state of --patience in a checkpoint's extra_state.
PATIENCE = "early_stopping"
_FIELDS = ("best", "num_runs")


def training_loop() -> ModuleType | None:
    """fairseq's module with the loop: imported, or run as a script; None where neither is so."""
    for name in ("fairseq_cli.train", "__main__"):
        module = sys.modules.get(name)
        if hasattr(module, "validate_and_save"):
            return module
    return None


def patience_state() -> dict[str, Any]:
    """The best validation so far and how many have passed since, as --patience counts; empty where it does not."""
    counter = getattr(training_loop(), "should_stop_early", None)
    return {name: getattr(counter, name) for name in _FIELDS if hasattr(counter, name)}


def go_on(loop: Any, extra_state: dict[str, Any] | None) -> None:
    """Let the loop count on from a checkpoint, and make no update more where the run was over.

    fairseq looks at --max-update and --patience only after an update: a run started again after its end would change
    the weights that it had ended with.

    Args:
        loop: see training_loop().
        extra_state: of the checkpoint; None where there is none.
    """
    for name, value in ((extra_state or {}).get(PATIENCE) or {}).items():
        setattr(loop.should_stop_early, name, value)
    train = loop.train

    def train_unless_over(cfg: Any, trainer: Any, *rest: Any) -> Any:
        made, most, patience = trainer.get_num_updates(), cfg.optimization.max_update, cfg.checkpoint.patience
        if 0 < most <= made:
            logger.info("nothing is left to train: update %d of --max-update %d is made", made, most)
            return [None], True
        if 0 < patience <= getattr(loop.should_stop_early, "num_runs", 0):
            logger.info("nothing is left to train: --patience %d was exceeded", patience)
            return [None], True
        return train(cfg, trainer, *rest)

    loop.train = train_unless_over


def repeat_end_of_epoch(trainer: Any, epoch_itr: Any, extra_state: dict[str, Any] | None) -> None:
    """Tell the learning-rate schedule of the validation that ended the last epoch.

    fairseq writes the checkpoint of an epoch's end before it tells the schedule, and forgets that when the run goes on.

    Args:
        trainer: fairseq's.
        epoch_itr: the training data, where the run goes on.
        extra_state: of the checkpoint; None where there is none.
    """
    if extra_state is None or extra_state.get("val_loss") is None:
        return
    place = extra_state["train_iterator"]
    # With --finetune-from-model and --reset-dataloader the epochs are those of a new run.
    if place["iterations_in_epoch"] == 0 and place["epoch"] == epoch_itr.epoch > 1:
        trainer.lr_step(epoch_itr.epoch - 1, extra_state["val_loss"])
