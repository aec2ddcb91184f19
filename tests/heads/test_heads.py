import torch
import torch.nn.functional as F
from torch import nn

from mvlm_plugin.heads.contrastive import ContrastiveHead
from mvlm_plugin.heads.image_decoder import CrossAttentionDecoder, LinearDecoder
from mvlm_plugin.heads.matching import MatchingHead
from mvlm_plugin.heads.mlm import MlmHead
from tests.helpers import roughen


def test_word_logits_are_projected_with_the_embedding_of_words() -> None:
    embedding = nn.Embedding(11, 6)
    head = roughen(MlmHead(4, embedding))
    x = torch.randn(3, 4)
    hidden = F.layer_norm(F.gelu(head.dense(x)), (6,), head.norm.weight, head.norm.bias)
    torch.testing.assert_close(head(x, embedding.weight), hidden @ embedding.weight.T + head.bias)
    assert not any(parameter is embedding.weight for parameter in head.parameters())


def test_embeddings_are_unit_vectors_in_float32() -> None:
    head = ContrastiveHead(4, 6, 5).bfloat16()
    for vectors in (head.image(torch.randn(3, 4).bfloat16()), head.text(torch.randn(3, 6).bfloat16())):
        assert vectors.shape == (3, 5)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_matching_reads_the_product_of_both_tokens() -> None:
    head = MatchingHead(4)
    image, text = torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(head(image, text), head.classifier(image * text))


def test_decoders_give_the_pixels_of_every_patch_without_the_global_token() -> None:
    x, context, padding = torch.randn(2, 5, 8), torch.randn(2, 3, 8), torch.zeros(2, 3, dtype=torch.bool)
    for decoder in (CrossAttentionDecoder(8, 1, 2, patch_size=4), LinearDecoder(8, patch_size=4)):
        assert decoder(x, context, padding).shape == (2, 4, 48)
    stream = roughen(CrossAttentionDecoder(8, 1, 2, patch_size=4))
    decoded = stream.stream(x, None, stream.stream.project(context), padding)
    torch.testing.assert_close(stream(x, context, padding), stream.pixels(decoded[:, 1:]))
    linear = LinearDecoder(8, patch_size=4)
    torch.testing.assert_close(linear(x, context, padding), linear.pixels(x[:, 1:]))


def test_the_cross_attention_decoder_reads_the_context_but_not_its_padding() -> None:
    decoder = roughen(CrossAttentionDecoder(8, 1, 2, patch_size=4))
    x, context = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    padding = torch.tensor([[False, False, True], [False, True, True]])
    padded, seen = context.clone(), context.clone()
    padded[padding] = 9.0
    seen[:, 0] = 9.0
    torch.testing.assert_close(decoder(x, padded, padding), decoder(x, context, padding))
    assert not torch.allclose(decoder(x, seen, padding), decoder(x, context, padding))
