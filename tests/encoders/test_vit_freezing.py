import copy

import pytest
import torch

from mvlm_plugin.encoders.vit import VisionTransformer
from tests.helpers import roughen


def make_encoder(dropout: float = 0.0, visible_patches: int = 0) -> VisionTransformer:
    encoder = VisionTransformer(16, 4, 12, 3, 3, dropout=dropout, visible_patches=visible_patches)
    return roughen(encoder).train()


@pytest.mark.parametrize("visible_patches", [0, 6])
def test_embeddings_and_first_blocks_get_no_gradient_and_the_rest_gets_the_same(visible_patches: int) -> None:
    images, mask = torch.randn(2, 3, 16, 16), torch.rand(2, 16).argsort(dim=1) >= 6
    whole = make_encoder(visible_patches=visible_patches)
    frozen = copy.deepcopy(whole)
    frozen.freeze(2)
    for encoder in (whole, frozen):
        encoder(images, mask).square().sum().backward()
    trained = {name for name, parameter in frozen.named_parameters() if parameter.grad is not None}
    last = {name for name, _ in whole.named_parameters() if name.startswith(("blocks.2.", "norm."))}
    assert trained == last | ({"mask_token"} if visible_patches else set())
    assert {name for name, parameter in frozen.named_parameters() if parameter.requires_grad} == trained
    for name in last:
        torch.testing.assert_close(frozen.get_parameter(name).grad, whole.get_parameter(name).grad)


def test_nothing_is_kept_for_the_frozen_part() -> None:
    def saved_bytes(stages: int) -> int:
        encoder = make_encoder()
        encoder.freeze(stages)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
            encoder(torch.randn(4, 3, 16, 16))
        return sum(sizes)

    none, one, every = saved_bytes(0), saved_bytes(1), saved_bytes(3)
    assert every < 0.1 * none
    assert 0.6 * none < one < 0.7 * none


def test_frozen_blocks_have_no_dropout() -> None:
    encoder, images = make_encoder(dropout=0.5), torch.randn(2, 3, 16, 16)
    assert not torch.equal(encoder(images), encoder(images))
    encoder.freeze(3)
    assert torch.equal(encoder(images), encoder(images))


@pytest.mark.parametrize("stages", [4, -1])
def test_more_blocks_than_there_are_cannot_be_frozen(stages: int) -> None:
    with pytest.raises(ValueError, match=f"--frozen-image-stages {stages}: this image encoder has 3 blocks"):
        make_encoder().freeze(stages)
