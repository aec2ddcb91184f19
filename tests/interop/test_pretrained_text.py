"""Weights of text encoders by the options of the model: positions, vocabularies, heads for masked words."""

import logging
from pathlib import Path
from types import ModuleType

import pytest
import torch
from fairseq.data import Dictionary
from torch import Tensor

from mvlm_plugin.data.wordpiece import dictionary_symbols, read_vocabulary
from mvlm_plugin.interop.pretrained import load_pretrained
from mvlm_plugin.interop.reading import WeightsError
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_dictionary, make_model, tiny_config
from tests.interop.sources import assert_close, hf_text, loaded, save_fairseq_roberta
from tests.minilm_files import minilm_folder

TOKENS = torch.tensor([[0, 5, 9, 8, 30, 12, 2], [0, 7, 2, 1, 1, 1, 1], [0, 44, 6, 6, 2, 1, 1]])
SEEN = TOKENS != 1


def text_features(model: MvlmModel) -> Tensor:
    with torch.no_grad():
        return model.text_encoder(TOKENS, ~SEEN)[SEEN]


def hf_features(theirs: torch.nn.Module, tokens: Tensor = TOKENS) -> Tensor:
    with torch.no_grad():
        found = theirs(tokens, attention_mask=SEEN.long(), output_hidden_states=True)
        return found.hidden_states[-1][SEEN]


def test_a_text_encoder_from_transformers_with_its_head(transformers: ModuleType, tmp_path: Path) -> None:
    theirs = hf_text(transformers, "Roberta", 45, layer_norm_eps=1e-5)
    theirs.save_pretrained(tmp_path / "text")
    model, records = loaded(tmp_path, text_encoder_weights=str(tmp_path / "text"))
    assert records["text_encoder"]["format"] == "Hugging Face RoBERTa"
    assert_close(text_features(model), hf_features(theirs))
    with torch.no_grad():
        logits = model.mlm_head(hf_features(theirs), model.text_encoder.token_embedding.weight)
        assert_close(logits, theirs(TOKENS, attention_mask=SEEN.long()).logits[SEEN], 1e-4)


def test_berts_tokens_and_head_come_in_the_dictionarys_order(transformers: ModuleType, tmp_path: Path) -> None:
    words = [f"w{i}" for i in reversed(range(40))]
    entries = ["[PAD]", "[UNK]", *words, "[CLS]", "[SEP]", "[MASK]"]
    theirs = hf_text(transformers, "Bert", len(entries), layer_norm_eps=1e-5)
    theirs.save_pretrained(tmp_path / "text")
    with pytest.raises(WeightsError, match=r"missing: the source's vocab\.txt in .*text.*put it there"):
        loaded(tmp_path, text_encoder_weights=str(tmp_path / "text"))
    (tmp_path / "text" / "vocab.txt").write_text("\n".join(entries) + "\n")
    model, _ = loaded(tmp_path, text_encoder_weights=str(tmp_path / "text"))
    names = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
    rows = [entries.index(names.get(symbol, symbol)) for symbol in make_dictionary().symbols]
    tokens = torch.tensor(rows)[TOKENS]
    assert_close(text_features(model), hf_features(theirs, tokens))
    with torch.no_grad():
        logits = model.mlm_head(hf_features(theirs, tokens), model.text_encoder.token_embedding.weight)
        expected = theirs(tokens, attention_mask=SEEN.long()).logits[SEEN][:, rows]
        assert_close(logits, expected, 1e-4)


@pytest.mark.parametrize("old_names", [False, True])
def test_a_text_encoder_from_fairseq(tmp_path: Path, old_names: bool) -> None:
    theirs = save_fairseq_roberta(tmp_path / "roberta")
    path = tmp_path / "roberta" / "model.pt"
    if old_names:
        content = torch.load(path, weights_only=True)
        torch.save({**content, "model": in_old_names(content["model"])}, path)
    model, records = loaded(tmp_path, text_encoder_weights=str(path))
    assert records["text_encoder"]["format"] == "fairseq RoBERTa"
    with torch.no_grad():
        features = theirs(TOKENS, features_only=True)[0][SEEN]
        assert_close(text_features(model), features)
        logits = model.mlm_head(features, model.text_encoder.token_embedding.weight)
        assert_close(logits, theirs.encoder.output_layer(features), 1e-4)


def in_old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of fairseq's first RoBERTa."""
    old = {}
    for name, tensor in state.items():
        if ".q_proj." in name:
            tensor = torch.cat([state[name.replace(".q_", f".{part}_")] for part in "qkv"])
            name = name.replace("q_proj.", "in_proj_")
        elif ".k_proj." in name or ".v_proj." in name:
            continue
        name = name.replace(".self_attn_layer_norm.", ".layer_norms.0.").replace(
            ".final_layer_norm.", ".layer_norms.1."
        )
        name = name.replace(".layernorm_embedding.", ".emb_layer_norm.").replace("encoder.", "decoder.", 1)
        old[name] = tensor
    return old


def test_minilm_by_its_package(transformers: ModuleType, tmp_path: Path) -> None:
    folder = minilm_folder()
    entries = read_vocabulary(folder / "vocab.txt")
    dictionary = Dictionary()
    for symbol in (*dictionary_symbols(entries), "<mask>"):
        dictionary.add_symbol(symbol)
    cfg = tiny_config(text_encoder="minilm_l6", text_encoder_weights=str(folder))
    model = MvlmModel(cfg, dictionary).eval()
    records = load_pretrained(model, cfg, dictionary, tmp_path)
    assert records["text_encoder"]["format"] == "Hugging Face BERT"
    words = ["[CLS]", "two", "dogs", "un", "##fold", "[MASK]", "[SEP]"]
    ours = {"[CLS]": "<s>", "[MASK]": "<mask>", "[SEP]": "</s>"}
    theirs = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor([[entries.index(word) for word in words]])).last_hidden_state
        tokens = torch.tensor([[dictionary.index(ours.get(word, word)) for word in words]])
        found = model.text_encoder(tokens, torch.zeros_like(tokens, dtype=torch.bool))
    assert_close(found[:, 1:], expected[:, 1:])


def test_a_text_encoder_of_other_heads_or_another_vocabulary(tmp_path: Path) -> None:
    save_fairseq_roberta(tmp_path / "heads", encoder_attention_heads=8)
    with pytest.raises(WeightsError, match="8 attention heads in the file, 4 in the model"):
        loaded(tmp_path, text_encoder_weights=str(tmp_path / "heads" / "model.pt"))
    dictionary = make_dictionary()
    dictionary.add_symbol("extra")
    save_fairseq_roberta(tmp_path / "other", dictionary)
    (tmp_path / "other" / "dict.txt").unlink()
    with pytest.raises(WeightsError, match=r"46 tokens in the source, 45 symbols in the data.*--tokenizer gpt2-bpe"):
        loaded(tmp_path, text_encoder_weights=str(tmp_path / "other" / "model.pt"))


def test_symbols_that_the_source_lacks(tmp_path: Path) -> None:
    theirs = save_fairseq_roberta(tmp_path / "text")
    words = (tmp_path / "text" / "dict.txt").read_text().replace("w3 1", "other 1")
    (tmp_path / "text" / "dict.txt").write_text(words)
    options = {"text_encoder_weights": str(tmp_path / "text" / "model.pt")}
    with pytest.raises(WeightsError, match=r"missing: 1 of the data's 45 symbols in .*dict\.txt: 'w3'; prepare"):
        loaded(tmp_path, **options)
    model, _ = loaded(tmp_path, allow_weight_mismatch=True, **options)
    same = (model.text_encoder.token_embedding.weight == theirs.encoder.sentence_encoder.embed_tokens.weight).all(1)
    assert (~same).nonzero().flatten().tolist() == [make_dictionary().index("w3")]


def test_text_positions_are_cut_or_missing(tmp_path: Path) -> None:
    theirs = save_fairseq_roberta(tmp_path / "text")
    options = {"text_encoder_weights": str(tmp_path / "text" / "model.pt"), "max_text_tokens": 44}
    with pytest.raises(WeightsError, match="positions from 40 on; set --max-text-tokens 40"):
        loaded(tmp_path, **options)
    fresh = make_model(tiny_config(max_text_tokens=44)).text_encoder.position_embedding
    model, _ = loaded(tmp_path, allow_weight_mismatch=True, **options)
    positions = model.text_encoder.position_embedding
    assert torch.equal(positions[0, :40], theirs.encoder.sentence_encoder.embed_positions.weight[2:])
    assert torch.equal(positions[0, 40:], fresh[0, 40:])


def test_a_head_of_another_width_stays_new_as_far_as_it_does_not_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_fairseq_roberta(tmp_path / "text")
    options = {"fusion_width": 64, "text_encoder_weights": str(tmp_path / "text" / "model.pt")}
    with caplog.at_level(logging.INFO):
        loaded(tmp_path, **options)
    assert "from the source: bias, dense.bias, norm.bias, norm.weight; new: dense.weight" in caplog.text


def test_the_fusion_starts_from_the_text_encoder(tmp_path: Path) -> None:
    save_fairseq_roberta(tmp_path / "text")
    options = {"text_encoder_weights": str(tmp_path / "text" / "model.pt"), "fusion_from_text_encoder": True}
    model, _ = loaded(tmp_path, **options)
    theirs, ours = model.text_encoder.blocks[-1].feed_forward, model.fusion.image_stream.blocks[-1].feed_forward
    assert torch.equal(theirs[0].weight, ours[0].weight)
    with pytest.raises(WeightsError, match="needs --text-encoder-weights"):
        loaded(tmp_path, fusion_from_text_encoder=True)
