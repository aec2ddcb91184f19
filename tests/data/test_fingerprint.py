import json
from pathlib import Path
from typing import Any

import pytest

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.fingerprint import fingerprint, fingerprint_of, joined_fingerprint


def _manifest(image_store: str = "packed", **changes: str) -> dict[str, Any]:
    hashes = {"dict.txt": "a", "train.text.bin": "b", "train.images.idx": "c", "rejected.jsonl": "d", **changes}
    return {
        "image_store": image_store,
        "files": {name: {"bytes": 1, "sha256": digest} for name, digest in hashes.items()},
    }


@pytest.mark.parametrize(
    ("image_store", "change", "counts"),
    [
        ("packed", {"dict.txt": "x"}, True),
        ("packed", {"train.text.bin": "x"}, True),
        ("packed", {"train.images.idx": "x"}, True),
        ("packed", {"more": "x"}, True),
        ("packed", {"rejected.jsonl": "x"}, False),
        # It has the times of files that lie elsewhere, which copying them changes.
        ("reference", {"train.images.idx": "x"}, False),
        ("reference", {"train.text.bin": "x"}, True),
    ],
)
def test_only_data_count(image_store: str, change: dict[str, str], counts: bool) -> None:
    before, after = fingerprint_of(_manifest(image_store)), fingerprint_of(_manifest(image_store, **change))
    assert len(before) == 64
    assert (before != after) == counts


def test_neither_order_nor_other_entries_count() -> None:
    manifest = _manifest()
    turned = {"files": dict(reversed(manifest["files"].items())), "image_store": "packed", "made_with": {"python": "4"}}
    assert fingerprint_of(turned) == fingerprint_of(manifest)


def test_names_and_hashes_do_not_run_together() -> None:
    assert fingerprint_of(_manifest(ab="c")) != fingerprint_of(_manifest(a="bc"))
    assert joined_fingerprint(["ab", "c"]) != joined_fingerprint(["a", "bc"]) != joined_fingerprint(["bc", "a"])


def test_a_manifest_without_files_has_no_fingerprint(tiny_databin: Path) -> None:
    assert fingerprint(tiny_databin) == ""


@pytest.mark.parametrize("files", [7, [1], {"a": None}, {"a": {}}, {"\ud800": {"sha256": "a"}}])
def test_a_damaged_list_of_files_is_refused(tiny_databin: Path, files: Any) -> None:
    manifest = json.loads((tiny_databin / "manifest.json").read_text())
    (tiny_databin / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    with pytest.raises(DataBinError, match="damaged"):
        fingerprint(tiny_databin)
