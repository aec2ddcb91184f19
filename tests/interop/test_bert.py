from types import ModuleType, SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary

from mvlm_plugin.data.wordpiece import BERT_SPECIALS, WordPieceSplitter, dictionary_symbols, read_vocabulary
from mvlm_plugin.encoders.minilm import SentenceEncoder
from mvlm_plugin.encoders.roberta import RobertaEncoder
from mvlm_plugin.interop.bert import from_hf_bert
from mvlm_plugin.interop.vocabulary import reorder_rows
from mvlm_plugin.registry import TEXT_ENCODERS
from tests.helpers import roughen
from tests.minilm_files import minilm_folder

VOCABULARY = 50
POSITIONS = 12
TOKENS = torch.tensor([[9, 5, 9, 8, 30, 12, 2], [9, 7, 2, 1, 1, 1, 1], [9, 44, 6, 6, 2, 1, 1]])
SEEN = TOKENS != 1
CAPTIONS = [
    "A child in a pink dress is climbing up a set of stairs in an entry way .",
    "Two dogs.",
    "The na\u00efve snowboarder's caf\u00e9, un-photographable \u4f60\u597d \U0001f600!",
]


def hf_reference(transformers: ModuleType, eps: float = 1e-12) -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=POSITIONS,
        pad_token_id=1,
        layer_norm_eps=eps,
    )
    return roughen(transformers.BertModel(config)).eval()


@pytest.mark.parametrize("eps", [1e-12, 1e-2])
@torch.no_grad()
def test_the_same_weights_give_the_outputs_of_transformers(transformers: ModuleType, eps: float) -> None:
    theirs = hf_reference(transformers, eps)
    model = RobertaEncoder(VOCABULARY, 1, POSITIONS, width=24, layers=3, heads=4, eps=eps).eval()
    model.load_state_dict(from_hf_bert(theirs.state_dict()))
    expected = theirs(TOKENS, attention_mask=SEEN.long()).last_hidden_state
    torch.testing.assert_close(model(TOKENS, ~SEEN)[SEEN], expected[SEEN], atol=1e-5, rtol=1e-5)


def test_heads_and_pooler_are_left_behind(transformers: ModuleType) -> None:
    theirs = hf_reference(transformers)
    expected = from_hf_bert(theirs.state_dict())
    whole = transformers.BertForPreTraining(theirs.config)
    whole.bert.load_state_dict(theirs.state_dict())
    state = {**whole.state_dict(), "bert.embeddings.position_ids": torch.arange(POSITIONS)}
    bare = {key: tensor for key, tensor in theirs.state_dict().items() if not key.startswith("pooler.")}
    assert len(bare) < len(theirs.state_dict())
    for actual in (from_hf_bert(state), from_hf_bert(bare)):
        assert actual.keys() == expected.keys()
        assert all(torch.equal(actual[key], expected[key]) for key in expected)


def test_other_weights_are_refused(transformers: ModuleType) -> None:
    state = hf_reference(transformers).state_dict()
    with pytest.raises(ValueError, match=r"of a transformers BertModel; keys without a counterpart: spam$"):
        from_hf_bert({**state, "spam": torch.zeros(1)})
    with pytest.raises(ValueError, match="no position embedding"):
        from_hf_bert({"embeddings.word_embeddings.weight": torch.zeros(4, 2)})


def captions_of_a_databin(dictionary: Dictionary, splitter: WordPieceSplitter) -> torch.Tensor:
    """CAPTIONS as the data set gives them: (3, L) ids, padded."""
    rows = [[dictionary.bos(), *map(dictionary.index, splitter.split(text)), dictionary.eos()] for text in CAPTIONS]
    tokens = torch.full((len(rows), max(map(len, rows))), dictionary.pad())
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = torch.tensor(ids)
    return tokens


@torch.no_grad()
def test_minilm_gives_the_outputs_of_transformers(transformers: ModuleType) -> None:
    folder = minilm_folder()
    entries = read_vocabulary(folder / "vocab.txt")
    dictionary = Dictionary()
    for symbol in [*dictionary_symbols(entries), "<mask>"]:
        dictionary.add_symbol(symbol)
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    inputs = transformers.BertTokenizerFast.from_pretrained(folder)(CAPTIONS, padding=True, return_tensors="pt")
    expected = theirs(**inputs).last_hidden_state
    seen = inputs.attention_mask.bool()

    model: SentenceEncoder = TEXT_ENCODERS.build(
        "minilm_l6", SimpleNamespace(max_text_tokens=512, dropout=0.1), dictionary
    )
    state = from_hf_bert(theirs.state_dict())
    state["token_embedding.weight"] = reorder_rows(state["token_embedding.weight"], entries, dictionary, BERT_SPECIALS)
    model.load_state_dict(state)
    tokens = captions_of_a_databin(dictionary, WordPieceSplitter(folder / "vocab.txt", cased=False))
    output = model.eval()(tokens, tokens.eq(dictionary.pad()))

    means = torch.stack([row[kept].mean(0) for row, kept in zip(expected, seen, strict=True)])
    torch.testing.assert_close(output[:, 0], means, atol=1e-5, rtol=1e-5)
    seen[:, 0] = False
    torch.testing.assert_close(output[seen], expected[seen], atol=1e-5, rtol=1e-5)
