from pathlib import Path

import numpy as np
import pytest
import torch

from mvlm_plugin.data.databin import DataBinError, pairs_path
from mvlm_plugin.data.dataset import JointMaskedDataset, PairOptions
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.evaluation.features import TextFeatures, encode_split
from mvlm_plugin.models.mvlm import MvlmModel
from tests.helpers import make_dictionary, make_model, roughen, tiny_config, write_databin


def _dataset(folder: Path, train: bool = False) -> JointMaskedDataset:
    cfg = tiny_config()
    options = PairOptions(
        cfg.image_size, cfg.max_text_tokens, cfg.image_mask_ratio, cfg.image_mask_block, cfg.text_mask_ratio
    )
    return JointMaskedDataset(PairStore(folder, "valid"), make_dictionary(), options, seed=1, train=train)


@pytest.fixture(scope="module")
def model() -> MvlmModel:
    return roughen(make_model(tiny_config())).eval()  # type: ignore[return-value]


def _break_image(folder: Path, image: int) -> None:
    """Damage the bytes of an image; even ones lie in the first container, odd ones in the second."""
    store = PairStore(folder, "valid").images
    record = store.record(image)
    path = folder / ("valid.images.001.bin" if image % 2 else "valid.images.bin")
    data = bytearray(path.read_bytes())
    data[record.offset : record.offset + record.length] = bytes(record.length)
    path.write_bytes(data)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_features_are_those_of_single_images_and_captions(
    tiny_databin: Path, model: MvlmModel, batch_size: int
) -> None:
    dataset = _dataset(tiny_databin)
    features = encode_split(model, dataset, batch_size, "cpu")
    assert features.is_readable.all()
    assert features.image_of_text.tolist() == [image for image in range(24) for _ in range(1 + image % 3)]
    with torch.no_grad():
        for image in (0, 7, 23):
            alone = model.encode_image(model.normalize(dataset.pixels(image)[None]))
            torch.testing.assert_close(features.images[image], alone[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(features.image_embeddings[image], model.embed_image(alone)[0])
        for caption in (0, 11, 47):
            alone = model.encode_text(dataset.tokens([caption]))
            tokens, padding = features.texts.padded(torch.tensor([caption]))
            assert not padding.any()
            torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(features.text_embeddings[caption], model.embed_text(alone)[0])


def test_every_image_and_caption_is_encoded_once(
    tiny_databin: Path, model: MvlmModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {"image": 0, "text": 0}
    encode_image, encode_text = model.encode_image, model.encode_text

    def count(kind: str, encode: object) -> object:
        def counted(batch: torch.Tensor) -> torch.Tensor:
            seen[kind] += len(batch)
            return encode(batch)  # type: ignore[operator]

        return counted

    monkeypatch.setattr(model, "encode_image", count("image", encode_image))
    monkeypatch.setattr(model, "encode_text", count("text", encode_text))
    encode_split(model, _dataset(tiny_databin), 10, "cpu")
    assert seen == {"image": 24, "text": 48}


def test_a_bad_image_is_reported_and_no_other_stands_in(
    tiny_databin: Path, model: MvlmModel, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode_split(model, _dataset(tiny_databin), 4, "cpu")
    _break_image(tiny_databin, 5)
    features = encode_split(model, _dataset(tiny_databin), 4, "cpu")
    assert (~features.is_readable).nonzero().tolist() == [[5]]
    assert "image 5" in caplog.text
    assert not features.images[5].any()
    others = features.is_readable
    torch.testing.assert_close(features.images[others], whole.images[others])
    assert torch.equal(features.image_of_text, whole.image_of_text)


def test_a_split_without_a_readable_image_is_refused(tmp_path: Path, model: MvlmModel) -> None:
    folder = write_databin(tmp_path / "databin", images=2)
    _break_image(folder, 0)
    _break_image(folder, 1)
    with pytest.raises(DataBinError, match="no readable image"):
        encode_split(model, _dataset(folder), 4, "cpu")


def test_a_table_that_points_elsewhere_is_refused(tiny_databin: Path, model: MvlmModel) -> None:
    pairs = np.load(pairs_path(tiny_databin, "valid"))
    np.save(pairs_path(tiny_databin, "valid"), np.stack([pairs, pairs], axis=1))
    with pytest.raises(DataBinError, match="2 images a caption"):
        encode_split(model, _dataset(tiny_databin), 4, "cpu")
    pairs[3] = 24
    np.save(pairs_path(tiny_databin, "valid"), pairs)
    with pytest.raises(DataBinError, match="outside"):
        encode_split(model, _dataset(tiny_databin), 4, "cpu")


def test_training_images_are_refused(tiny_databin: Path, model: MvlmModel) -> None:
    with pytest.raises(ValueError, match="changes"):
        encode_split(model, _dataset(tiny_databin, train=True), 4, "cpu")


def test_padded_captions() -> None:
    texts = TextFeatures(torch.arange(6.0)[:, None], torch.tensor([2, 1, 3]))
    tokens, padding = texts.padded(torch.tensor([2, 0]))
    assert tokens[0, :, 0].tolist() == [3, 4, 5]
    assert tokens[1, :2, 0].tolist() == [0, 1]
    assert padding.tolist() == [[False] * 3, [False, False, True]]
