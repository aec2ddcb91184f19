import torch

from mvlm_plugin.interop.norm_eps import set_norm_eps
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_model, tiny_config


def eps_of(model: MvlmModel) -> list[float]:
    return [model.image_encoder.norm.eps, model.image_encoder.blocks[0].self_norm.eps, model.text_encoder.norm_eps]


def test_a_checkpoint_carries_the_eps_of_the_source() -> None:
    source = make_model(tiny_config())
    names = source.state_dict().keys()
    set_norm_eps(source.image_encoder, 1e-12)
    set_norm_eps(source.text_encoder, 1e-3)
    state = source.state_dict()
    assert state.keys() - names == {"image_encoder.norm_eps", "text_encoder.norm_eps"}
    model = make_model(tiny_config())
    model.load_state_dict(state)
    assert eps_of(model) == [1e-12, 1e-12, 1e-3]
    # And so does a checkpoint of the run that goes on from it.
    again = make_model(tiny_config())
    again.load_state_dict(model.state_dict())
    assert eps_of(again) == [1e-12, 1e-12, 1e-3]


def test_without_a_source_a_checkpoint_has_no_such_entry() -> None:
    model = make_model(tiny_config())
    assert not [name for name in model.state_dict() if "eps" in name]
    other = make_model(tiny_config(), seed=1)
    other.load_state_dict(model.state_dict())
    assert other.image_encoder.norm.eps == 1e-6
    assert torch.equal(other.image_encoder.cls_token, model.image_encoder.cls_token)
