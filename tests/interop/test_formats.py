import pytest
import torch

from mvlm_plugin.interop.formats import IMAGE_FORMATS, TEXT_FORMATS, mlm_head, recognise
from mvlm_plugin.interop.reading import WeightsError

ONE = torch.zeros(1, 4)
TWO = torch.zeros(2, 4)
IMAGES = {
    "timm ViT": {"cls_token": ONE, "blocks.0.attn.qkv.weight": ONE},
    "MAE": {"blocks.0.attn.qkv.weight": ONE, "decoder_embed.weight": ONE},
    "Hugging Face ViT": {"vit.embeddings.patch_embeddings.projection.weight": ONE},
}
TEXTS = {
    "fairseq RoBERTa": [
        {"encoder.sentence_encoder.embed_tokens.weight": ONE},
        {"sentence_encoder.embed_tokens.weight": ONE},
        {"embed_tokens.weight": ONE},
    ],
    "Hugging Face RoBERTa": [
        {"roberta.embeddings.word_embeddings.weight": ONE},
        {"embeddings.word_embeddings.weight": ONE, "embeddings.token_type_embeddings.weight": ONE},
        {"embeddings.word_embeddings.weight": ONE},
    ],
    "Hugging Face BERT": [
        {"bert.embeddings.word_embeddings.weight": ONE},
        {"embeddings.word_embeddings.weight": ONE, "embeddings.token_type_embeddings.weight": TWO},
    ],
}


@pytest.mark.parametrize("name", IMAGES)
def test_image_formats_are_known_by_their_names(name: str) -> None:
    assert recognise(IMAGES[name], IMAGE_FORMATS).name == name


@pytest.mark.parametrize("name", TEXTS)
def test_text_formats_are_known_by_their_names(name: str) -> None:
    assert [recognise(tensors, TEXT_FORMATS).name for tensors in TEXTS[name]] == [name] * len(TEXTS[name])


def test_an_unknown_format_lists_what_is_supported_and_what_was_seen() -> None:
    with pytest.raises(
        WeightsError, match=r"supported: MAE, timm ViT, Hugging Face ViT; the first names are stem\.w, b$"
    ):
        recognise({"stem.w": ONE, "b": ONE}, IMAGE_FORMATS)


def test_a_checkpoint_of_ours_is_named_as_such() -> None:
    with pytest.raises(WeightsError, match="--finetune-from-model"):
        recognise({"image_encoder.cls_token": ONE}, IMAGE_FORMATS)


@pytest.mark.parametrize("prefix", ["encoder.", ""])
def test_heads_for_masked_words_get_our_names(prefix: str) -> None:
    fairseq = {f"{prefix}lm_head.{name}": ONE for name in ("weight", "bias", "dense.weight", "layer_norm.bias")}
    assert mlm_head(fairseq, TEXT_FORMATS[0]).keys() == {"bias", "dense.weight", "norm.bias"}
