from types import ModuleType

import pytest
import torch

from mvlm_plugin.encoders.vit import VisionTransformer
from mvlm_plugin.interop import from_hf_vit, from_timm_vit
from mvlm_plugin.interop.vit import fold_normalization
from mvlm_plugin.modules.pixels import DEVIATION, MEAN
from tests.helpers import roughen
from tests.timm_helper import import_timm

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 24,
    "patch_size": 8,
}


def reference(transformers: ModuleType, eps: float = 1e-12, mask_token: bool = True) -> torch.nn.Module:
    config = transformers.ViTConfig(**SIZES, layer_norm_eps=eps)
    return roughen(transformers.ViTModel(config, use_mask_token=mask_token)).eval()


def ours(eps: float = 1e-12) -> VisionTransformer:
    return VisionTransformer(image_size=24, patch_size=8, width=24, layers=3, heads=4, eps=eps).eval()


@pytest.mark.parametrize("eps", [1e-12, 1e-2])
def test_the_same_weights_give_the_outputs_of_transformers(transformers: ModuleType, eps: float) -> None:
    theirs, model = reference(transformers, eps), ours(eps)
    model.load_state_dict(from_hf_vit(theirs.state_dict()))
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=1e-5)


def test_masked_patches_are_as_in_transformers(transformers: ModuleType) -> None:
    theirs, model = reference(transformers), ours()
    model.load_state_dict(from_hf_vit(theirs.state_dict()))
    images, mask = torch.randn(2, 3, 24, 24), torch.rand(2, 9) < 0.5
    with torch.no_grad():
        expected = theirs(images, bool_masked_pos=mask).last_hidden_state
        torch.testing.assert_close(model(images, mask), expected, atol=1e-5, rtol=1e-5)
        # Two views in one pass: the whole images, then the masked ones.
        views = model(images, torch.cat([torch.zeros_like(mask), mask]))
        torch.testing.assert_close(views, torch.cat([model(images), expected]), atol=1e-5, rtol=1e-5)


def test_only_the_mask_token_is_missing_from_a_source_that_has_none(transformers: ModuleType) -> None:
    state = from_hf_vit(reference(transformers, mask_token=False).state_dict())
    missing, unexpected = ours().load_state_dict(state, strict=False)
    assert missing == ["mask_token"]
    assert unexpected == []


def released_name(key: str) -> str:
    """The name that released checkpoints use for what transformers >= 5 holds in memory."""
    if key.startswith("layers."):
        key = "encoder.layer." + key.removeprefix("layers.")
        for new, old in {
            "attention.q_proj": "attention.attention.query",
            "attention.k_proj": "attention.attention.key",
            "attention.v_proj": "attention.attention.value",
            "attention.o_proj": "attention.output.dense",
            "mlp.fc1": "intermediate.dense",
            "mlp.fc2": "output.dense",
        }.items():
            key = key.replace(new, old)
    return "vit." + key


def test_names_of_released_checkpoints_are_known(transformers: ModuleType) -> None:
    state = reference(transformers).state_dict()
    released = {released_name(key): tensor for key, tensor in state.items()}
    released["classifier.weight"] = torch.zeros(10, 24)
    expected, actual = from_hf_vit(state), from_hf_vit(released)
    assert actual.keys() == expected.keys() == ours().state_dict().keys()
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


def test_keys_without_a_counterpart_are_named_in_full(transformers: ModuleType) -> None:
    state = reference(transformers).state_dict()
    state["layers.0.lambda_1"] = state["text.embeddings"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"layers\.0\.lambda_1, text\.embeddings$"):
        from_hf_vit(state)


def test_the_same_weights_give_the_outputs_of_a_transformers_mae(transformers: ModuleType) -> None:
    config = transformers.ViTMAEConfig(
        **SIZES,
        mask_ratio=0.0,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_hidden_size=16,
    )
    theirs, model = roughen(transformers.ViTMAEForPreTraining(config)).eval(), ours()
    missing, unexpected = model.load_state_dict(from_hf_vit(theirs.state_dict()), strict=False)
    assert (missing, unexpected) == (["mask_token"], [])
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        found = theirs.vit(images)
        order = found.ids_restore[..., None].expand(-1, -1, 24)
        patches = found.last_hidden_state[:, 1:].gather(1, order)
        expected = torch.cat([found.last_hidden_state[:, :1], patches], dim=1)
        torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=1e-5)


def timm_reference(**options: object) -> torch.nn.Module:
    import_timm()
    from timm.models.vision_transformer import VisionTransformer as TimmVit

    sizes = {"img_size": 24, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 4, "num_classes": 5}
    return roughen(TimmVit(**{**sizes, **options})).eval()


@pytest.mark.parametrize("options", [{}, {"qkv_bias": False}, {"no_embed_class": True}])
def test_the_same_weights_give_the_outputs_of_timm(options: dict[str, bool]) -> None:
    theirs, model = timm_reference(**options), ours(eps=1e-6)
    missing, unexpected = model.load_state_dict(from_timm_vit(theirs.state_dict()), strict=False)
    assert (missing, unexpected) == (["mask_token"], [])
    images = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs.forward_features(images), atol=1e-5, rtol=1e-5)


def timm_names(transformers: ModuleType) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """A ViTModel, and its weights in timm's names, so that those are tested where timm is not installed."""
    theirs = reference(transformers, mask_token=False)
    state = dict(theirs.state_dict())
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection": "patch_embed.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.o_proj": "attn.proj",
        "layernorm.": "norm.",
        "layers.": "blocks.",
    }
    renamed = {}
    for key, tensor in state.items():
        if key.startswith("pooler.") or "k_proj" in key or "v_proj" in key:
            continue
        if "q_proj" in key:
            tensor = torch.cat([state[key.replace("q_proj", f"{name}_proj")] for name in "qkv"])
            key = key.replace("attention.q_proj", "attn.qkv")
        for old, new in names.items():
            key = key.replace(old, new)
        renamed[key] = tensor
    return theirs, renamed


def test_timm_names_without_timm(transformers: ModuleType) -> None:
    theirs, state = timm_names(transformers)
    expected, actual = from_hf_vit(theirs.state_dict()), from_timm_vit(state)
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], expected[key]) for key in expected)


def test_a_pretrained_mae_leaves_its_decoder_behind_and_a_finetuned_one_has_its_norm_at_the_end(
    transformers: ModuleType,
) -> None:
    _, state = timm_names(transformers)
    expected = from_timm_vit(state)
    decoder = {"mask_token": torch.zeros(1, 1, 16), "decoder_embed.weight": torch.zeros(16, 24)}
    assert from_timm_vit({**state, **decoder}).keys() == expected.keys()
    finetuned = {key.replace("norm.", "fc_norm.") if key.startswith("norm.") else key: state[key] for key in state}
    actual = from_timm_vit({**finetuned, "head.weight": torch.zeros(10, 24), "head.bias": torch.zeros(10)})
    assert torch.equal(actual["norm.weight"], expected["norm.weight"])


def test_distilled_deit_is_refused(transformers: ModuleType) -> None:
    _, state = timm_names(transformers)
    with pytest.raises(ValueError, match=r"second global token.*without 'distilled'"):
        from_timm_vit({**state, "dist_token": torch.zeros(1, 1, 24)})


def test_another_normalisation_of_pixels_goes_into_the_patch_embedding(transformers: ModuleType) -> None:
    theirs, model = reference(transformers), ours()
    converted = from_hf_vit(theirs.state_dict())
    model.load_state_dict(fold_normalization(converted, (0.5, 0.4, 0.3), (0.5, 0.6, 0.7)))
    pixels = torch.rand(2, 3, 24, 24)

    def normalize(mean: tuple[float, ...], deviation: tuple[float, ...]) -> torch.Tensor:
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)

    with torch.no_grad():
        expected = theirs(normalize((0.5, 0.4, 0.3), (0.5, 0.6, 0.7))).last_hidden_state
        torch.testing.assert_close(model(normalize(MEAN, DEVIATION)), expected, atol=1e-5, rtol=1e-5)
