"""fairseq-train in this process: a start costs a second in place of five."""

from pathlib import Path

from fairseq import checkpoint_utils, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import progress_bar
from fairseq_cli import train as fairseq_train

import mvlm_plugin  # noqa: F401  (registers what the options name)


def train(data: Path | str, save_dir: Path, *more: object, updates: int = 2, task: str = "joint_masked_vl") -> Path:
    """Train mvlm_tiny with one block a stream, on pictures of 32 pixels and the CPU.

    Args:
        data: data-bin, or several joined by ``:``.
        save_dir: of checkpoints.
        more: further options.
        updates: at which to stop.
        task: its name.

    Returns:
        The last checkpoint.
    """
    criterion = task if task in ("joint_masked_vl", "vl_retrieval") else "vl_classification"
    arguments = [
        data, "--task", task, "--arch", "mvlm_tiny", "--criterion", criterion, "--image-encoder", "vit_tiny_patch8",
        "--image-size", 32, "--fusion-layers", 1, "--optimizer", "adam", "--lr", "1e-3", "--batch-size", 8,
        "--max-update", updates, "--save-dir", save_dir, "--cpu", "--disable-validation", "--num-workers", 0,
        "--no-epoch-checkpoints", "--log-format", "none", *more,
    ]  # fmt: skip
    if hasattr(checkpoint_utils.save_checkpoint, "best"):
        del checkpoint_utils.save_checkpoint.best  # of an earlier run in this process
    progress_bar._tensorboard_writers.clear()  # they would go on writing to an earlier run's folder
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, input_args=list(map(str, arguments)))
    fairseq_train.main(convert_namespace_to_omegaconf(args))
    return save_dir / "checkpoint_last.pt"
