"""Quiets what talks without need: to be imported before fairseq and Pillow are used.

Importing fairseq sets the root logger to DEBUG, with which Pillow reports every block of a PNG and matplotlib every
font, and announces an optional dependency of a task that is not ours.
"""

import logging

for _noisy in ("PIL", "matplotlib", "fairseq.tasks.text_to_speech"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)
