"""What goes wrong with checkpoints."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or must not be read; the message names the file and says what to do."""
