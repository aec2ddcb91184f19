from typing import Any

import pytest
import torch

from mvlm_plugin.interop.dictionary_digest import ENTRY
from mvlm_plugin.models.architectures import ARCHITECTURES
from mvlm_plugin.models.pair_classifier import PRETRAINING_PARTS, PairClassifier
from mvlm_plugin.models.parameter_groups import tag_of
from tests.helpers import make_dictionary, make_model, roughen, tiny_config


def classifier(classes: int = 3, images: int = 1, seed: int = 0, **options: Any) -> PairClassifier:
    torch.manual_seed(seed)
    return PairClassifier(tiny_config(**options), make_dictionary(), classes, images)


def inputs(texts: int = 4, images: int = 1, seed: int = 0, size: int = 32) -> dict[str, torch.Tensor]:
    """Texts of 2 to 6 tokens about pictures, some of which are shared."""
    generator = torch.Generator().manual_seed(seed)
    dictionary = make_dictionary()
    tokens = torch.randint(dictionary.nspecial, len(dictionary) - 1, (texts, 6), generator=generator)
    tokens[:, 0] = dictionary.bos()
    for row in range(texts):
        tokens[row, 2 + row % 5 :] = dictionary.pad()
    different = max(2, texts * images // 2)
    return {
        "images": torch.randint(0, 256, (different, 3, size, size), dtype=torch.uint8, generator=generator),
        "tokens": tokens,
        "image_rows": torch.randint(0, different, (texts, images), generator=generator),
    }


@pytest.mark.parametrize("images", [1, 2, 3])
def test_logits_are_those_of_each_text_alone(images: int) -> None:
    model = roughen(classifier(images=images), 0.05).eval()
    batch = inputs(images=images)
    logits = model(**batch)
    assert logits.shape == (4, 3)
    for row in range(4):
        length = int(batch["tokens"][row].ne(model.padding_idx).sum())
        alone = model(
            batch["images"][batch["image_rows"][row]], batch["tokens"][row : row + 1, :length],
            torch.arange(images)[None],
        )  # fmt: skip
        torch.testing.assert_close(alone[0], logits[row], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_each_distinct_image_is_encoded_once() -> None:
    model = classifier(images=2).eval()
    seen = []
    model.image_encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].size(0)))
    batch = inputs(images=2)
    model(**batch)
    assert seen == [len(batch["images"])]


def test_the_classifier_reads_what_matching_and_retrieval_read() -> None:
    pretrained = make_model(tiny_config()).eval()
    model = classifier()
    model.load_state_dict(pretrained.state_dict())
    model.eval()
    read: list[torch.Tensor] = []
    model.head.register_forward_pre_hook(lambda _, args: read.extend(args))
    pretrained.matching.register_forward_pre_hook(lambda _, args: read.extend(args))
    batch = inputs()
    model(**batch)
    image = pretrained.encode_image(pretrained.normalize(batch["images"]))
    text = pretrained.encode_text(batch["tokens"])
    padding = batch["tokens"].eq(pretrained.padding_idx)
    rows = batch["image_rows"][:, 0]
    pretrained.match(image, text, padding, rows, torch.arange(4))
    tokens, vectors, matched = read[:2], read[2:4], read[4:]
    torch.testing.assert_close(tokens, matched)
    torch.testing.assert_close(vectors, [pretrained.embed_image(image)[rows], pretrained.embed_text(text)])


@pytest.mark.parametrize("options", [{}, {"visible_patches_only": True}, {"checkpoint_activations": "all"}])
def test_every_trained_parameter_gets_a_gradient(options: dict[str, Any]) -> None:
    model = classifier(images=2, **options).train()
    model(**inputs(images=2)).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"image_encoder.mask_token", "contrastive.log_temperature"}


def test_pretraining_weights_are_taken_over_and_the_classifier_stays_new(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    source = roughen(make_model(tiny_config(), seed=1))
    model = classifier(seed=2)
    before = {name: value.clone() for name, value in model.head.state_dict().items()}
    model.load_state_dict(source.state_dict())
    after = model.state_dict()
    shared = {
        name: value for name, value in source.state_dict().items() if name.partition(".")[0] not in PRETRAINING_PARTS
    }
    assert set(after) == set(shared) | {f"head.{name}" for name in before}
    assert all(torch.equal(after[name], value) for name, value in shared.items())
    assert all(torch.equal(after[f"head.{name}"], value) for name, value in before.items())
    loaded = sum(value.numel() for name, value in shared.items() if name != ENTRY)
    new = sum(value.numel() for value in before.values())
    assert f"{loaded:,} values loaded; new: head, {new:,} values; left out: image_decoder (" in caplog.text
    for part in PRETRAINING_PARTS:
        assert f"{part} ({sum(p.numel() for p in getattr(source, part).state_dict().values()):,})" in caplog.text


def test_loading_its_own_checkpoint_says_nothing_and_is_strict(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    source = roughen(classifier())
    state = source.state_dict()
    model = classifier(seed=1)
    model.load_state_dict(dict(state))
    torch.testing.assert_close(model.eval()(**inputs()), source.eval()(**inputs()))
    assert caplog.text == ""
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.layers\.4\.bias"):
        model.load_state_dict({name: value for name, value in state.items() if name != "head.layers.4.bias"})
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.layers\.0\.weight"):
        model.load_state_dict({name: value for name, value in state.items() if not name.startswith("head.")})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*extra"):
        model.load_state_dict({**state, "extra": torch.zeros(1)})


def test_a_pretraining_checkpoint_may_lack_nothing_that_is_shared() -> None:
    state = make_model(tiny_config()).state_dict()
    del state["fusion.text_stream.norm.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*fusion\.text_stream\.norm\.weight"):
        classifier().load_state_dict(state)


@pytest.mark.parametrize("other", [{"classes": 4}, {"images": 2}])
def test_a_classifier_of_other_sizes_is_refused_by_name(other: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="trained for other classes or another number of images a text"):
        classifier().load_state_dict(classifier(**other).state_dict())


def test_position_embeddings_grow_with_the_images() -> None:
    small = make_model(tiny_config(image_size=32))
    model = classifier(image_size=48)
    model.load_state_dict(small.state_dict())
    assert small.image_encoder.position_embedding.size(1) == 17
    assert model.image_encoder.position_embedding.size(1) == 37
    corners = model.image_encoder.position_embedding[0, [1, 36]].detach()
    expected = small.image_encoder.position_embedding[0, [1, 16]].detach()
    assert torch.nn.functional.cosine_similarity(corners, expected).min() > 0.8
    assert model.eval()(**inputs(size=48)).isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_a_classifier_with_tagged_parameters(architecture: str) -> None:
    with torch.device("meta"):
        model = PairClassifier(ARCHITECTURES[architecture].__dataclass(), make_dictionary(), 3)  # type: ignore[attr-defined]
    assert not any(hasattr(model, part) for part in PRETRAINING_PARTS)
    parts = {name: tag_of(parameter).part for name, parameter in model.named_parameters()}
    assert {parts[name] for name in parts if name.startswith("head.")} == {"main"}
    assert {parts[name] for name in parts if name.startswith("image_encoder.")} == {"image_encoder"}
    decayed = {name for name, p in model.named_parameters() if name.startswith("head.") and tag_of(p).decay}
    assert decayed == {"head.layers.0.weight", "head.layers.4.weight"}
