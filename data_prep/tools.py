"""What a subcommand of mvlm-prep that prepares nothing consists of."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """A subcommand that looks at data-bins or completes them.

    Attributes:
        name: of the subcommand.
        summary: one sentence.
        example: a command line that a user can paste.
        add_options: adds its options to its parser.
        run: parsed options -> exit status. Raises PrepError, DataBinError.
    """

    name: str
    summary: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
