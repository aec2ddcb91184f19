import pytest
import torch

from mvlm_plugin.modules.patches import (
    PatchEmbedding,
    blocks_to_patches,
    masked_indices,
    normalize_patches,
    patchify,
    restore_patches,
    unpatchify,
)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 12), (12, 4)])
def test_unpatchify_undoes_patchify(height: int, width: int) -> None:
    images = torch.randn(2, 3, height, width)
    assert torch.equal(unpatchify(patchify(images, 4), 4, width // 4), images)


def test_patches_run_row_by_row_and_hold_channel_row_column() -> None:
    images = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    patches = patchify(images, 2)
    assert patches.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            block = images[1, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[1, 3 * row + column], block.flatten())


def test_patch_embedding_equals_a_strided_convolution() -> None:
    embedding = PatchEmbedding(4, 10)
    convolution = torch.nn.Conv2d(3, 10, kernel_size=4, stride=4)
    with torch.no_grad():
        convolution.weight.copy_(embedding.projection.weight.view(10, 3, 4, 4))
        convolution.bias.copy_(embedding.projection.bias)
    images = torch.randn(2, 3, 8, 12)
    expected = convolution(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(images), expected, atol=1e-5, rtol=1e-5)


def test_a_masked_block_masks_exactly_its_patches() -> None:
    blocks = torch.zeros(1, 2, 2, dtype=torch.bool)
    blocks[0, 0, 1] = True
    expected = torch.zeros(1, 4, 4, dtype=torch.bool)
    expected[0, :2, 2:] = True
    assert torch.equal(blocks_to_patches(blocks, 32, 16, 4), expected.flatten(1))


def test_what_overhangs_the_image_is_cut_off() -> None:
    # 5 patches a side in blocks of 2: the third row and column of blocks hold half a block each.
    blocks = torch.zeros(1, 3, 3, dtype=torch.bool)
    blocks[0, 2, 2] = blocks[0, 2, 0] = True
    expected = torch.zeros(1, 5, 5, dtype=torch.bool)
    expected[0, 4, 4] = expected[0, 4, :2] = True
    assert torch.equal(blocks_to_patches(blocks, 16, 8, 5), expected.flatten(1))


def test_masked_patches_come_in_order_and_visible_ones_fill_up() -> None:
    mask = torch.tensor([[False, True, False, True], [False, False, True, False]])
    assert masked_indices(mask, 2).tolist() == [[1, 3], [2, 0]]


def test_more_masked_patches_than_expected_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="more patches are masked"):
        masked_indices(torch.tensor([[True, True, False]]), 1)


def test_normalized_patches_keep_their_structure_alone() -> None:
    patches = torch.tensor([[[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]]])
    # Mean 3, squared deviations 4 + 1 + 0 + 9 over three.
    expected = torch.tensor([-2.0, -1.0, 0.0, 3.0]) / (14 / 3) ** 0.5
    normalized = normalize_patches(patches)
    torch.testing.assert_close(normalized[0, 0], expected)
    assert torch.equal(normalized[0, 1], torch.zeros(4))
    torch.testing.assert_close(normalize_patches(7 * patches + 2), normalized)
    torch.testing.assert_close(restore_patches(normalized, patches), patches)
