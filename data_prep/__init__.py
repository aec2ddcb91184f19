"""Data preparation: turns raw image-caption sources into data-bin folders that training reads."""

import logging

# fairseq, when imported, sets the root logger to DEBUG and announces an optional dependency.
for _noisy in ("PIL", "fairseq.tasks.text_to_speech"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)
