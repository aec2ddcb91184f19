"""What a fairseq checkpoint may hold beside tensors, so that it loads with ``weights_only`` kept on."""

import argparse

import torch

# The classes that fairseq pickles into a checkpoint; everything else stays refused.
ALLOWED = (argparse.Namespace,)


def allow_fairseq_checkpoints() -> None:
    """Let torch.load(weights_only=True) read fairseq's checkpoints. No code of a file runs."""
    torch.serialization.add_safe_globals(list(ALLOWED))
