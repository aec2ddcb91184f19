"""Identifiers of photos, from the names and addresses that COCO and Flickr give them."""

import pytest

from data_prep.sources.image_ids import all_ids_of_name, coco_id, flickr_id, flickr_id_of_url, ids_of_name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x/COCO_val2014_000000391895.jpg", ("coco:391895",)),
        ("000000000009.png", ("coco:9",)),
        ("2970773875_164f0c0b83_z.jpg", ("flickr:2970773875",)),
        ("1000268201_693b08cb0e.jpg", ("flickr:1000268201",)),
        ("12.jpg", ()),
        ("1_2.jpg", ()),
        ("9" * 30 + "_693b08cb0e.jpg", ()),
        ("\u0661" * 12 + ".jpg", ()),
        ("", ()),
    ],
)
def test_names_that_only_coco_or_flickr_give(name: str, found: tuple[str, ...]) -> None:
    assert ids_of_name(name) == found
    assert all_ids_of_name(f"a/{name}")[1:] == found


def test_names_of_a_known_origin() -> None:
    assert [flickr_id(name) for name in ("36979.jpg", "a/12_x.jpg", "a.jpg")] == ["flickr:36979", "flickr:12", None]
    assert coco_id("COCO_train2014_39.jpg") is None
    assert all_ids_of_name("a/b.c.jpg") == ("name:b.c",)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://farm4.staticflickr.com/3153/2970773875_164f0c0b83_z.jpg", "flickr:2970773875"),
        ("http://static.flickr.com/2723/4385058960_b0f291553e.jpg", "flickr:4385058960"),
        ("https://live.staticflickr.com/1/2_3.jpg?x", "flickr:2"),
        ("http://notflickr.com/1/2_3.jpg", None),
        ("http://flickr.com.x.org/1/2_3.jpg", None),
        ("http://[flickr.com/1_2.jpg", None),
        ("", None),
    ],
)
def test_addresses_of_flickr(url: str, found: str | None) -> None:
    assert flickr_id_of_url(url) == found
