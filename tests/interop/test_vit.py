from types import ModuleType

import pytest
import torch

from mvlm_plugin.encoders.vit import VisionTransformer
from mvlm_plugin.interop import from_hf_vit
from tests.helpers import roughen


def reference(transformers: ModuleType, eps: float = 1e-12, mask_token: bool = True) -> torch.nn.Module:
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        image_size=24,
        patch_size=8,
        layer_norm_eps=eps,
    )
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
