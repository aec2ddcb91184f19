"""JSON files of any size and malice, an entry at a time."""

import json
from pathlib import Path

import fsspec
import pytest
from source_helpers import peak_memory

from data_prep.records import PrepError
from data_prep.sources import json_stream
from data_prep.sources.json_stream import is_list, items, record_key

FIX = "give a good file"


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "set.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_entries_are_what_json_holds(tmp_path: Path) -> None:
    entries = [{"a": 1, "b": [2.5, None, True, 'é\\" ]}[{']}, "text \\", 3, [], {}, '\\\\"{']
    for content in (json.dumps({"x": {"list": [0]}, "list": entries, "z": [[1]]}), json.dumps(entries)):
        for encoded in (content.encode(), b"\xef\xbb\xbf \n" + content.encode()):
            path = write(tmp_path, encoded)
            found = list(items(path, "item" if is_list(path) else "list.item", FIX))
            assert found == entries
            assert [type(value) for value in found[0]["b"]] == [float, type(None), bool, str]


def test_a_single_value_is_found(tmp_path: Path) -> None:
    assert list(items(write(tmp_path, '{"version": "2.0", "list": []}'), "version", FIX)) == ["2.0"]


def test_brackets_in_texts_do_not_count(tmp_path: Path) -> None:
    # Texts begin, end and escape at every offset of the blocks in which the file is read.
    for shift in range(65_520, 65_540):
        entries = ["x" * shift + '"' + "[" * 150, "\\", "{" * 150, {"[" * 150: "\\\\" + '"' + "[" * 150}]
        assert list(items(write(tmp_path, json.dumps(entries)), "item", FIX)) == entries


@pytest.mark.parametrize(
    "content",
    [
        "", "not json", "[1, 2", "[1] 2", "\ufeff", "[NaN]", b"[\"\xff\"]", '{"list": 3}', '{"list": []}', "[1e999]",
        "[" + "9" * 5000 + "]", b"\x1f\x8b\x08\x00", json.dumps([1]).encode("utf-16"), "{" * 1000, "]" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_list_of_json_is_an_error_of_one_line(tmp_path: Path, content: str | bytes) -> None:
    path = write(tmp_path, content)
    with pytest.raises(PrepError) as error:
        list(items(path, "list.item" if str(content).startswith("{") else "item", FIX))
    assert str(error.value).startswith(f"{path} ")
    assert str(error.value).endswith(FIX)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting_costs_nothing(tmp_path: Path, brackets: tuple[str, str], closed: bool) -> None:
    depth = 10_000
    path = write(tmp_path, '[{"a": 1}, ' + brackets[0] * depth + "1" + brackets[1] * depth * closed + "]")

    def read() -> None:
        with pytest.raises(PrepError, match="more than 100 brackets"):
            list(items(path, "item", FIX))

    assert peak_memory(read) < 4 * 2**20
    nested = json.loads("[" * 98 + "]" * 98)
    assert list(items(write(tmp_path, json.dumps([nested])), "item", FIX)) == [nested]


@pytest.mark.parametrize("entry", [["x" * 2**21], "x" * 2**21, "1" * 2**21, {"a": ["b"] * 2**19}])
def test_an_endless_entry_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: object) -> None:
    monkeypatch.setattr(json_stream, "MAX_ENTRY", 2**20)
    text = entry if entry == "1" * 2**21 else json.dumps(entry)
    with pytest.raises(PrepError, match="an entry has over 1 MiB"):
        list(items(write(tmp_path, f"[1, {text}]"), "item", FIX))
    many = ["x" * 1000] * 5000
    assert list(items(write(tmp_path, json.dumps({"a": many})), "a.item", FIX)) == many


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps([{"id": number, "text": "word " * 50} for number in range(40_000)]))
    assert Path(path).stat().st_size > 10 * 2**20
    assert peak_memory(lambda: sum(1 for _ in items(path, "item", FIX))) < 2**20


def test_a_store_is_read() -> None:
    with fsspec.open("memory://json/a.json", "wb") as file:
        file.write(b"[1, 2]")
    assert list(items("memory://json/a.json", "item", FIX)) == [1, 2]


def test_keys_are_numbers_or_names() -> None:
    assert [record_key(value) for value in (7, "a", "", True, None, 1.5, 2**63, [1])] == [7, "a", *[None] * 6]
