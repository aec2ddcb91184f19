"""What the page searches: every readable photo once, with its own captions."""

from pathlib import Path

import numpy as np
import pytest

from mvlm_plugin.data.databin import DataBinError
from tests.demo.models import known_gallery
from tests.helpers import caption_words, colour, write_databin


def test_photos_and_captions_belong_together(tmp_path: Path) -> None:
    _, gallery = known_gallery(write_databin(tmp_path, images=9))
    assert gallery.images.tolist() == list(range(9))
    assert gallery.captions_of(4) == [7, 8]  # pictures 0 to 3 have 1, 2, 3, 1 captions
    assert gallery.caption(8).split() == [f"w{word}" for word in caption_words(8)]
    assert gallery.photo(4).getpixel((0, 0)) == colour(4)
    np.testing.assert_allclose(gallery.image_features.norm(dim=1), 1, rtol=1e-5)
    for number, photo in enumerate(gallery.photo_of):
        assert (gallery.text_features[number] @ gallery.image_features[photo]).item() == pytest.approx(1)


def test_the_first_images_alone_when_asked(tmp_path: Path) -> None:
    _, gallery = known_gallery(write_databin(tmp_path, images=9), max_images=2)
    assert gallery.images.tolist() == [0, 1]
    assert gallery.captions.tolist() == [0, 1, 2]
    assert len(gallery.text_features) == 3


def test_bad_images_are_counted_and_left_out_with_their_captions(tmp_path: Path) -> None:
    folder = write_databin(tmp_path, images=9)
    container = folder / "train.images.bin"  # pictures 0, 2, 4, 6, 8
    container.write_bytes(b"\0" * container.stat().st_size)
    _, gallery = known_gallery(folder)
    assert gallery.bad_images == 5
    assert gallery.images.tolist() == [1, 3, 5, 7]
    assert gallery.photo(1).getpixel((0, 0)) == colour(3)
    assert [gallery.captions[place] for place in gallery.captions_of(1)] == [6]
    assert len(gallery.captions) == 2 + 1 + 3 + 2


def test_a_split_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    folder = write_databin(tmp_path, images=4)
    for container in folder.glob("train.images*.bin"):
        container.write_bytes(b"\0" * container.stat().st_size)
    with pytest.raises(DataBinError, match=r"none of 4 images.*mvlm-prep verify"):
        known_gallery(folder)
