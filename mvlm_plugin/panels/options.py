"""When panels are drawn, and of how many pairs."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from omegaconf import II


@dataclass
class PanelConfig(FairseqDataclass):
    """Panels of --tensorboard-logdir; the fields without help are fairseq's own options, read here."""

    panel_interval: int = field(
        default=500,
        metadata={
            "help": "with --tensorboard-logdir: every so many updates, draw panels of held-out pairs (masked, rebuilt, "
            "predicted words) and measure the gradient norm of each loss on the encoders, the temperature and the "
            "conditioning gains; the weights that a run ends with do not depend on it; 0 = off"
        },
    )
    panel_pairs: int = field(
        default=6,
        metadata={"help": "draw the first so many pairs of the first --valid-subset, always the same ones"},
    )
    tensorboard_logdir: Optional[str] = II("common.tensorboard_logdir")
    valid_subset: Any = II("dataset.valid_subset")  # noqa: RUF009  a string
