"""Evaluation images are kept out by id, by content and by looks."""

import argparse
import json
import pickle
from pathlib import Path

import pytest
from databin_helpers import Picture, encoded, marked, scenery, write_bin, write_sharded

from data_prep.exclusion import Exclusions, add_exclusion_options, exclusion_request, missing_exclusion_warning
from data_prep.exclusion_specs import ids_of_line
from data_prep.records import PrepError
from data_prep.similarity import NO_PERCEPTUAL, content_hash, perceptual_hash
from mvlm_plugin.data.databin import DataBinError

COCO_VAL = {"filename": "COCO_val2014_000000391895.jpg", "filepath": "val2014", "split": "val", "cocoid": 391895}
COCO_TEST = {"filename": "COCO_val2014_000000060623.jpg", "filepath": "val2014", "split": "test", "cocoid": 60623}
COCO_REST = {"filename": "COCO_val2014_000000000042.jpg", "filepath": "val2014", "split": "restval", "cocoid": 42}
FLICKR = {"filename": "1000268201_693b08cb0e.jpg", "split": "test"}


def karpathy(path: Path, *entries: object) -> str:
    path.write_text(json.dumps({"dataset": "x", "images": list(entries)}), encoding="utf-8")
    return str(path)


def load(tmp_path: Path, *specs: str, distance: int = 6) -> Exclusions:
    return Exclusions.load(specs, distance, tmp_path / "scratch")


def pictures(*seeds: int) -> list[Picture]:
    return [Picture(f"{seed}.png", encoded(scenery(seed))) for seed in seeds]


def hit(exclusions: Exclusions, data: bytes, seed: int) -> tuple[str, str] | None:
    return exclusions.by_hash(content_hash(data), perceptual_hash(scenery(seed)))


def test_karpathy_file_names_its_val_and_test_images(tmp_path: Path) -> None:
    exclusions = load(tmp_path, karpathy(tmp_path / "coco.json", COCO_VAL, COCO_TEST, COCO_REST, FLICKR))
    for known in ("coco:391895", "coco:60623", "name:COCO_val2014_000000391895", "flickr:1000268201"):
        assert exclusions.by_ids(["name:other", known]) == "coco.json", known
    for other in ("coco:42", "name:COCO_val2014_000000000042", "flickr:391895", "coco:1000268201"):
        assert exclusions.by_ids([other]) is None, other
    assert exclusions.by_ids([]) is None
    assert exclusions.by_hash(content_hash(b"x"), 1) is None


def test_splits_of_a_karpathy_file_can_be_chosen(tmp_path: Path) -> None:
    path = karpathy(tmp_path / "coco.json", COCO_VAL, COCO_TEST, COCO_REST)
    exclusions = load(tmp_path, f"{path}:validation,restval")
    assert [exclusions.by_ids([f"coco:{number}"]) is not None for number in (391895, 60623, 42)] == [True, False, True]
    with pytest.raises(PrepError, match="no images of split nosuch; it has: restval, test, valid"):
        load(tmp_path, f"{path}:val,nosuch")


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("391895", {"name:391895", "coco:391895", "flickr:391895"}),
        ("000000391895.jpg", {"name:000000391895", "coco:391895", "flickr:391895"}),
        ("val2014/COCO_val2014_000000391895.jpg", {"name:COCO_val2014_000000391895", "coco:391895"}),
        ("COCO_val2014_000000391895", {"name:COCO_val2014_000000391895", "coco:391895"}),
        ("1000268201_693b08cb0e.jpg", {"name:1000268201_693b08cb0e", "flickr:1000268201"}),
        ("cat.final.JPG", {"name:cat.final"}),
        ("cat.final", {"name:cat.final", "name:cat"}),
        ("coco:00391895", {"coco:391895"}),
        ("name:391895", {"name:391895"}),
        ("flickr: 12", {"flickr:12"}),
    ],
)
def test_lines_of_an_id_list(line: str, ids: set[str]) -> None:
    assert set(ids_of_line(line)) == ids


def test_an_id_list_has_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbf# from the paper\r\n\r\n12 # the cat\r\ndog#1.jpg\r\n")
    exclusions = load(tmp_path, str(path))
    assert exclusions.by_ids(["coco:12"]) == exclusions.by_ids(["name:dog#1"]) == "ids.txt"
    assert exclusions.by_ids(["name:from"]) is None
    # Half a character, as JSON can hold it.
    assert exclusions.by_ids(["name:\ud800"]) is None


def test_databin_is_compared_by_content_and_looks(tmp_path: Path) -> None:
    folder = write_bin(tmp_path / "eval", {"train": pictures(1), "valid": pictures(2), "test1k": pictures(3)})
    exclusions = load(tmp_path, str(folder))
    original, copy = encoded(scenery(2)), encoded(marked(scenery(2)))
    assert original != copy
    assert hit(exclusions, original, 2) == ("eval", "exact")
    assert exclusions.by_hash(content_hash(copy), perceptual_hash(marked(scenery(2)))) == ("eval", "near")
    assert hit(exclusions, encoded(scenery(3)), 3) == ("eval", "exact")
    assert hit(exclusions, encoded(scenery(1)), 1) is None
    assert hit(exclusions, encoded(scenery(4)), 4) is None
    assert exclusions.by_hash(content_hash(b"x"), NO_PERCEPTUAL) is None
    only_bytes = load(tmp_path, str(folder), distance=-1)
    assert hit(only_bytes, original, 2) == ("eval", "exact")
    assert hit(only_bytes, copy, 2) is None


def test_splits_of_a_databin(tmp_path: Path) -> None:
    folder = write_bin(tmp_path / "eval", {"train": pictures(1), "valid": pictures(2)})
    chosen = load(tmp_path, f"{folder}:train")
    assert hit(chosen, b"", 1) == ("eval:train", "near")
    assert hit(chosen, b"", 2) is None
    only_train = write_bin(tmp_path / "only", {"train": pictures(5)})
    assert hit(load(tmp_path, str(only_train)), b"", 5) == ("only", "near")
    with pytest.raises(PrepError, match="no split test; it has: train, valid"):
        load(tmp_path, f"{folder}:test")


def test_all_shards_of_a_databin_count(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "s", [{"train": pictures(1), "valid": pictures(2)}, {"train": pictures(3)}])
    assert hit(load(tmp_path, f"{folder}:train"), b"", 3) == ("s:train", "near")
    assert hit(load(tmp_path, str(folder)), b"", 2) == ("s", "near")


def test_each_image_is_counted_for_the_exclusion_that_holds_it(tmp_path: Path) -> None:
    one = write_bin(tmp_path / "a" / "eval", {"test": pictures(1, 2)})
    two = write_bin(tmp_path / "b" / "eval", {"test": pictures(3, 2)})
    ids = karpathy(tmp_path / "coco.json", COCO_VAL)
    exclusions = load(tmp_path, str(one), ids, str(two))
    assert exclusions.names == ["eval", "coco.json", "eval (2)"]
    assert [hit(exclusions, encoded(scenery(seed)), seed) for seed in (1, 2, 3)] == [
        ("eval", "exact"),
        ("eval", "exact"),
        ("eval (2)", "exact"),
    ]
    assert exclusions.by_ids(["coco:391895"]) == "coco.json"


def test_the_first_exclusion_that_names_an_image_counts(tmp_path: Path) -> None:
    for name, line in (("one.txt", "coco:1\ncoco:3"), ("two.txt", "coco:2\ncoco:3")):
        (tmp_path / name).write_text(line)
    exclusions = load(tmp_path, str(tmp_path / "one.txt"), str(tmp_path / "two.txt"))
    assert [exclusions.by_ids(ids) for ids in (["coco:2", "coco:1"], ["coco:3"], ["coco:2"])] == [
        "one.txt",
        "one.txt",
        "two.txt",
    ]


def test_a_pickled_copy_is_small_and_finds_the_same(tmp_path: Path) -> None:
    folder = write_bin(tmp_path / "eval", {"test": pictures(*range(20))})
    exclusions = load(tmp_path, str(folder), karpathy(tmp_path / "coco.json", COCO_VAL))
    stored = pickle.dumps(exclusions)
    assert len(stored) < 1000
    copy = pickle.loads(stored)
    assert hit(copy, b"", 7) == ("eval", "near")
    assert copy.by_ids(["coco:391895"]) == "coco.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no ids"),
        (b"# nothing\n", "lists no ids"),
        (b"a\tb\n", "line 1: write one id"),
        (b"good\n\xff\xfe\n", "line 2 is not UTF-8"),
        (b"x" * 70_000, "line 1: write one id"),
        (b"[1, 2]", "no Karpathy JSON"),
        (b'{"images": [', "not usable JSON"),
        (b'{"annotations": []}', 'no list "images"'),
        (b'{"images": [{"split": "test"}]}', "image 0 has no filename or split"),
        (b'{"images": [{"filename": "a.jpg", "split": "train"}]}', "no images of split test, valid; it has: train"),
    ],
)
def test_unusable_files_are_errors(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "spec"
    path.write_bytes(content)
    with pytest.raises(PrepError, match=message):
        load(tmp_path, str(path))


def test_unusable_specs_are_errors(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PrepError, match="nosuch: No such file"):
        load(tmp_path, str(tmp_path / "nosuch"))
    with pytest.raises(PrepError, match="a list of ids has no splits; leave out :valid"):
        load(tmp_path, f"{tmp_path / 'ids.txt'}:val")
    with pytest.raises(DataBinError, match="not a data-bin"):
        load(tmp_path, str(tmp_path / "folder"))
    folder = write_bin(tmp_path / "eval", {"test": pictures(1)})
    (folder / "test.hashes.npy").write_bytes(b"damaged")
    with pytest.raises(PrepError, match="prepare that data-bin again"):
        load(tmp_path, str(folder))


def test_a_path_with_a_colon_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "a:test"
    path.write_text("12\n")
    assert load(tmp_path, str(path)).by_ids(["coco:12"]) == "a:test"


def test_request_changes_with_what_is_excluded(tmp_path: Path) -> None:
    folder = write_bin(tmp_path / "eval", {"valid": pictures(1), "test": pictures(2)})
    ids = tmp_path / "ids.txt"
    ids.write_text("1\n")
    texts = [str(folder), str(ids)]
    first = exclusion_request(texts, 6)
    assert first == exclusion_request(texts, 6) == json.loads(json.dumps(first))
    assert set(first["specs"][0]["sha256"]) == {"valid.hashes.npy", "test.hashes.npy"}
    assert first != exclusion_request(texts, 4)
    assert first != exclusion_request([f"{folder}:test", str(ids)], 6)
    ids.write_text("2\n")
    changed = exclusion_request(texts, 6)
    assert changed != first
    (folder / "test.hashes.npy").write_bytes(b"other")
    assert exclusion_request(texts, 6) != changed


def test_options() -> None:
    parser = argparse.ArgumentParser()
    add_exclusion_options(parser)
    args = parser.parse_args(["--exclude", "a", "--exclude", "b:test", "--exclude-distance", "-1"])
    assert (args.exclude, args.exclude_distance) == (["a", "b:test"], -1)
    assert parser.parse_args([]).exclude == []
    for wrong in ("11", "-2", "x", ""):
        with pytest.raises(SystemExit):
            parser.parse_args(["--exclude-distance", wrong])


def test_warning_names_the_option() -> None:
    assert "--exclude" in missing_exclusion_warning("COCO")
    assert missing_exclusion_warning("Visual Genome").startswith("Visual Genome ")
