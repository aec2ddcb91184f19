from types import SimpleNamespace

import pytest
import torch

from mvlm_plugin.criterions.vl_retrieval import VlRetrievalCriterion, VlRetrievalCriterionConfig
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import gradients, make_batch, make_criterion, make_dictionary, make_model, roughen, tiny_config


def _criterion(**weights: float) -> VlRetrievalCriterion:
    cfg = VlRetrievalCriterionConfig(**{f"{name}_weight": weight for name, weight in weights.items()})
    return VlRetrievalCriterion(cfg, SimpleNamespace(target_dictionary=make_dictionary()))


@pytest.fixture
def model() -> MvlmModel:
    return roughen(make_model(tiny_config())).eval()  # type: ignore[return-value]


def test_masked_objectives_are_off_unless_they_are_wanted(model: MvlmModel) -> None:
    assert _criterion().objectives == ("itc", "itm")
    assert _criterion(mlm=1, mim=0.5).objectives == ("mlm", "mim", "itc", "itm")
    batch = make_batch(model.cfg)
    loss, pairs, log = _criterion()(model, batch)
    loss.backward()
    assert pairs == 4
    assert {name for name in log if name.endswith("_loss")} == {"itc_loss", "itm_loss"}
    assert not any(name.startswith(("mlm_head", "image_decoder")) for name in gradients(model))


def test_the_losses_are_those_of_the_pre_training(model: MvlmModel) -> None:
    batch = make_batch(model.cfg)
    torch.manual_seed(5)
    ours = _criterion()(model, batch)[0]
    torch.manual_seed(5)
    torch.testing.assert_close(ours, make_criterion(mlm=0, mim=0)(model, batch)[0])


def test_several_captions_of_an_image_are_positives_each(model: MvlmModel) -> None:
    # Pairs 0 and 1 show the same image, with two captions.
    batch = make_batch(model.cfg, image_ids=[0, 0, 1, 2])
    inputs = batch["net_input"]
    inputs["images"][1] = inputs["images"][0]
    log = _criterion(itm=0)(model, batch)[2]
    features = model.encode_image(model.normalize(inputs["images"])), model.encode_text(inputs["tokens"])
    similarity = (model.embed_image(features[0]) @ model.embed_text(features[1]).T) / model.contrastive.temperature
    expected = 0.0
    for own, others in ((0, [2, 3]), (1, [2, 3]), (2, [0, 1, 3]), (3, [0, 1, 2])):
        columns = [own, *others]
        expected -= similarity[own, columns].log_softmax(0)[0] / 2 + similarity[columns, own].log_softmax(0)[0] / 2
    torch.testing.assert_close(log["itc_loss"], expected.detach())
