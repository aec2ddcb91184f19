"""torch.compile that goes on without compilation where it is not to be had."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)


class Fallback:
    """Whether the modules that were compiled together still are: one failure ends compilation for all of them."""

    compiles = True

    def give_up(self, error: Exception) -> None:
        """Say once what failed; modules are called uncompiled from now on."""
        self.compiles = False
        cause = getattr(error, "inner_exception", error)
        reason = next(iter(str(cause).splitlines()), "")
        logger.warning("torch.compile failed, the model goes on uncompiled: %s: %s", type(cause).__name__, reason)


class CompiledCall:
    """A module's call, compiled when it is first made; its plain call once compilation has failed."""

    def __init__(self, module: nn.Module, fallback: Fallback, **options: Any) -> None:
        # Imported where something is compiled: it takes a second, of every command.
        from torch._dynamo.exc import TorchDynamoException

        self.failure = TorchDynamoException
        self.plain = module._call_impl
        self.compiled = torch.compile(module._call_impl, **options)
        self.fallback = fallback

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self.fallback.compiles:
            try:
                return self.compiled(*inputs, **named)
            except self.failure as error:
                self.fallback.give_up(error)
        return self.plain(*inputs, **named)


def compile_modules(modules: Sequence[nn.Module], **options: Any) -> None:
    """Compile modules in place, as nn.Module.compile() does: names of parameters and pickling stay as they are.

    Where compilation fails (no compiler, an unsupported operation or Python), one warning is logged and all of them run
    uncompiled. A failure that only the backward pass meets is raised there.

    Args:
        modules: what is called as a whole.
        options: of torch.compile.
    """
    fallback = Fallback()
    try:
        for module in modules:
            module._compiled_call_impl = CompiledCall(module, fallback, **options)
    except RuntimeError as error:  # this Python or platform has no torch.compile
        fallback.give_up(error)
