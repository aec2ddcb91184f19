"""Search: the nearest come first, and ITM decides where it is asked."""

from pathlib import Path

import pytest

from mvlm_plugin.demo.search import RERANKED, find_captions, find_photos
from tests.demo.models import known_gallery
from tests.helpers import write_databin


def test_words_find_their_photo_first(tmp_path: Path) -> None:
    model, gallery = known_gallery(write_databin(tmp_path, images=9))
    found = find_photos(model, gallery, "w8", 3, rerank=False)  # caption 8 is of picture 4
    assert found[0].place == 4
    assert found[0].similarity == pytest.approx(1)
    assert found[0].matched is None
    assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)


def test_a_photo_finds_its_captions_first(tmp_path: Path) -> None:
    model, gallery = known_gallery(write_databin(tmp_path, images=9))
    found = find_captions(model, gallery, gallery.photo(4), 2, rerank=False)
    assert sorted(one.place for one in found) == [7, 8]


def test_matching_puts_the_best_in_order(tmp_path: Path) -> None:
    model, gallery = known_gallery(write_databin(tmp_path, images=9), liked=2)
    photos = find_photos(model, gallery, "w8", 3, rerank=True)
    assert [one.place for one in photos][:2] == [2, 4]  # then as ITC has them
    assert [one.matched for one in photos] == pytest.approx([0.9, 0.1, 0.1])
    captions = find_captions(model, gallery, gallery.photo(4), 4, rerank=True)
    assert sorted(one.place for one in captions[:3]) == [3, 4, 5]


def test_matching_sees_the_best_only(tmp_path: Path) -> None:
    model, gallery = known_gallery(write_databin(tmp_path, images=20), liked=19)
    nearest = [one.place for one in find_photos(model, gallery, "w0", 20, rerank=False)]
    assert nearest.index(19) >= 10
    judged: list[int] = []
    match = model.match

    def counted(images: list, texts: str) -> object:
        judged.append(len(images))
        return match(images, texts)

    model.match = counted  # type: ignore[method-assign]
    find_photos(model, gallery, "w0", 5, rerank=True)
    assert judged == [min(RERANKED, 20)]


def test_fewer_than_asked_for(tmp_path: Path) -> None:
    model, gallery = known_gallery(write_databin(tmp_path, images=2))
    assert len(find_photos(model, gallery, "w0", 50, rerank=False)) == 2
