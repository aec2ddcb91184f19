"""What the page does, with a model whose answers are known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvlm_plugin.demo.actions import Actions
from mvlm_plugin.demo.limits import SHOWN_SIDE, InputError
from tests.demo.models import known_gallery
from tests.helpers import colour, write_databin


@pytest.fixture
def actions(tmp_path: Path) -> Actions:
    return Actions(*known_gallery(write_databin(tmp_path / "databin", images=9)))


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """Of the colour of picture 4."""
    Image.new("RGB", (60, 40), colour(4)).save(tmp_path / "upload.png")
    return str(tmp_path / "upload.png")


def test_the_page_begins_with_a_pair_and_offers_others(actions: Actions) -> None:
    start = actions.start()
    assert (start.place, start.photo.getpixel((0, 0))) == (0, colour(0))
    assert start.caption == actions.gallery.caption(0)
    offered = actions.offer(5)
    assert len({pair.place for pair in offered}) == 5
    for pair in offered:
        assert pair.photo.getpixel((0, 0)) == colour(pair.place)
        assert pair.caption == actions.gallery.caption(actions.gallery.captions_of(pair.place)[0])
    assert len(actions.examples()) == 4


def test_the_wrong_partner_has_another_caption(actions: Actions) -> None:
    own = actions.gallery.caption(3)
    partners = [actions.wrong_partner(own) for _ in range(40)]
    assert own not in {partner.caption for partner in partners}
    assert len({partner.caption for partner in partners}) > 5


def test_search_by_words(actions: Actions) -> None:
    shown, places = actions.search_photos("w8", rerank=False)
    assert places[0] == 4
    assert shown[0][0].getpixel((0, 0)) == colour(4)
    assert shown[0][1] == "similarity 1.00"
    assert len(shown) == len(places) == 9
    with pytest.raises(InputError):
        actions.search_photos(" ", rerank=False)


def test_search_by_photo_marks_the_photos_own_captions(actions: Actions, photo: str) -> None:
    table = actions.search_captions(photo, 4, rerank=False)
    assert table.count("✓") == 2
    own, others = table.split("<th>3</th>")
    for caption in (7, 8):
        assert actions.gallery.caption(caption) in own
    assert "✓" not in others
    assert "✓" not in actions.search_captions(photo, None, rerank=False)  # an upload
    assert actions.caption_for(photo) in {actions.gallery.caption(7), actions.gallery.caption(8)}


def test_the_painted_part_is_rebuilt_from_either_caption(actions: Actions, photo: str) -> None:
    layer = Image.new("RGBA", (120, 80), (0, 0, 0, 0))
    layer.paste((200, 0, 0, 255), (60, 0, 120, 80))  # the right half
    rebuilt = actions.rebuild(photo, [layer], "w8", "w0")  # captions of pictures 4 and 0
    own, wrong = np.asarray(rebuilt.own), np.asarray(rebuilt.wrong)
    assert rebuilt.own.size == rebuilt.wrong.size == rebuilt.hidden.size == (SHOWN_SIDE, round(SHOWN_SIDE * 2 / 3))
    half = SHOWN_SIDE // 2
    for picture in (own, wrong, np.asarray(rebuilt.hidden)):
        assert (picture[:, :half] == colour(4)).all()
    assert (own[:, half:] == colour(4)).all()
    assert (wrong[:, half:] == colour(0)).all()
    expected = np.abs(np.subtract(colour(4), colour(0))).mean()
    assert rebuilt.comment.startswith("8 of 16 patches were hidden.")
    assert "**0.0** with the caption" in rebuilt.comment
    assert f"**{expected:.1f}** with the wrong one" in rebuilt.comment


def test_half_is_hidden_where_nothing_was_asked(actions: Actions, photo: str) -> None:
    assert actions.rebuild(photo, None, "w8", "w0").comment.startswith("8 of 16 patches")
    with pytest.raises(InputError, match="Nothing is hidden yet"):
        actions.rebuild(photo, [], "w8", "w0")


def test_words_are_guessed_with_either_photo(actions: Actions, photo: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), colour(1)).save(tmp_path / "other.png")
    table = actions.guess(photo, str(tmp_path / "other.png"), "w0 [MASK]")
    own, wrong = table.split("<td>")[1:]
    assert f"<b>{colour(4)[0]}</b>" in own
    assert f"<b>{colour(1)[0]}</b>" in wrong
    assert "<b>&lt;b&gt;</b>" in own


def test_a_photo_that_vanished_is_not_offered(actions: Actions) -> None:
    container = actions.gallery.store.folder / "train.images.bin"  # pictures 0, 2, 4, 6, 8
    container.write_bytes(b"\0" * container.stat().st_size)
    assert {pair.place for pair in actions.offer(9)} == {1, 3, 5, 7}
    assert actions.start().place == 1
