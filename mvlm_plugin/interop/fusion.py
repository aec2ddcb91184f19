"""Starts cross-modality blocks from the last blocks of a pre-trained text encoder."""

from typing import cast

import torch
from torch import nn

from ..encoders.roberta import RobertaEncoder
from ..modules.blocks import CrossBlock, EncoderBlock
from ..modules.cross_stream import CrossStream
from .reading import WeightsError

STREAMS = ("image_stream", "text_stream")


def start_fusion(fusion: nn.Module, encoder: nn.Module) -> list[str]:
    """Copy self-attention, feed-forward nets and norms of a text encoder's last blocks into both streams.

    The text encoder is post-norm and the streams are pre-norm, so a norm is copied to the place in front of the part
    that read its output: a stream's self-attention gets the norm that ended the text encoder's block before, its
    feed-forward net the norm behind self-attention, and the stream's last norm is the text encoder's last one.
    Cross-attention and its norm stay new: in the text encoder nothing reads another modality.

    Args:
        fusion: with image_stream and text_stream; the image stream is left as it is where its width differs.
        encoder: the text encoder, its weights loaded.

    Returns:
        Names of the streams that were started.

    Raises:
        WeightsError: the text stream's width, heads or layers do not fit, or one of the two is of another kind.
    """
    streams = {name: getattr(fusion, name, None) for name in STREAMS}
    if not isinstance(encoder, RobertaEncoder) or not all(isinstance(s, CrossStream) for s in streams.values()):
        raise WeightsError(
            "--fusion-from-text-encoder needs a RoBERTa or BERT as --text-encoder and --fusion co_attention"
        )
    started = []
    for name, stream in cast(dict[str, CrossStream], streams).items():
        problem = _misfit(stream, encoder)
        if problem and name == "text_stream":
            raise WeightsError(f"--fusion-from-text-encoder: {problem}")
        if not problem:
            _start_stream(stream, encoder)
            started.append(name)
    return started


def _misfit(stream: CrossStream, encoder: RobertaEncoder) -> str:
    """What keeps a stream from taking blocks of the encoder, with the option to change; empty if nothing."""
    own, theirs = cast(CrossBlock, stream.blocks[0]), cast(EncoderBlock, encoder.blocks[0])
    width = own.self_norm.normalized_shape[0]
    if width != encoder.width:
        return f"the text encoder has width {encoder.width}: set --fusion-width {encoder.width} (is {width})"
    heads = theirs.self_attention.heads
    if own.self_attention.heads != heads:
        return f"the text encoder has {heads} heads: set --fusion-heads {heads} (is {own.self_attention.heads})"
    if len(stream.blocks) > len(encoder.blocks):
        return f"the text encoder has {len(encoder.blocks)} blocks: set --fusion-layers to at most that"
    if not (own.norm_first and not theirs.norm_first):
        return "the blocks' norms are not where they are in co_attention and RoBERTa"
    return ""


def _start_stream(stream: CrossStream, encoder: RobertaEncoder) -> None:
    theirs = cast(list[EncoderBlock], list(encoder.blocks))
    first = len(theirs) - len(stream.blocks)
    with torch.no_grad():
        for depth, block in enumerate(cast(list[CrossBlock], list(stream.blocks)), start=first):
            before = theirs[depth - 1].feed_forward_norm if depth else encoder.embedding_norm
            block.self_norm.load_state_dict(before.state_dict())
            block.self_attention.load_state_dict(theirs[depth].self_attention.state_dict())
            block.feed_forward_norm.load_state_dict(theirs[depth].self_norm.state_dict())
            block.feed_forward.load_state_dict(theirs[depth].feed_forward.state_dict())
        stream.norm.load_state_dict(theirs[-1].feed_forward_norm.state_dict())
