"""When a training run gives up."""

from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass


@dataclass
class GuardConfig(FairseqDataclass):
    """How much may go wrong before a run ends."""

    max_skipped_updates: int = field(
        default=10,
        metadata={
            "help": "an update whose loss or gradient is not finite is skipped, and its pairs are written to "
            "SAVE_DIR/skipped_updates.rank*.jsonl (see mvlm-prep show --ids); end when this many in a row were skipped"
        },
    )
    max_bad_fraction: float = field(
        default=0.01,
        metadata={
            "help": "end when more than this share of the images read since the start could not be read, of 1000 "
            "images at least; another pair stands in for each, and SAVE_DIR/bad_images.rank*.jsonl lists them; 1 = "
            "never end"
        },
    )
