"""What is written into the files of a data-bin comes back, whatever it is."""

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fairseq.data.indexed_dataset import MMapIndexedDataset
from hypothesis import given
from hypothesis import strategies as st

from mvlm_plugin.data.databin import (
    FORMAT_VERSION,
    HASH,
    fields_prefix,
    hashes_path,
    images_path,
    names_prefix,
    pairs_path,
    text_prefix,
)
from mvlm_plugin.data.image_index import RECORD, ImageIndex, ImageIndexWriter
from mvlm_plugin.data.line_file import LineFile, LineFileWriter
from mvlm_plugin.data.store import PairStore
from mvlm_plugin.data.token_file import TokenFile, TokenFileWriter

# With half characters, as JSON can hold them.
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=()), max_size=30)
# Letters of all scripts, and bytes that are no UTF-8 (as Python has them); a number before them makes them all differ.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]),
    max_size=20,
)
TYPES = {"u2": 2**16, "u4": 2**32, "i4": 2**31, "i8": 2**63}


@given(st.lists(LINES, max_size=20))
def test_lines(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "names"
        writer = LineFileWriter(prefix)
        writer.extend(lines)
        writer.close()
        file = LineFile(prefix)
        assert [file[i] for i in range(len(file))] == lines
        for outside in (-1, len(lines)):
            with pytest.raises(IndexError):
                file[outside]


@st.composite
def token_entries(draw: st.DrawFn) -> tuple[str, list[list[list[int]]]]:
    """A type, and entries in the groups in which they are written."""
    kind = draw(st.sampled_from(sorted(TYPES)))
    entry = st.lists(st.integers(0, TYPES[kind] - 1), max_size=6)
    return kind, draw(st.lists(st.lists(entry, max_size=4), max_size=5))


@given(token_entries())
def test_tokens(written: tuple[str, list[list[list[int]]]]) -> None:
    kind, groups = written
    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "text"
        writer = TokenFileWriter(prefix, kind)
        for group in groups:
            tokens = np.array([token for entry in group for token in entry], dtype=kind)
            writer.extend(tokens, np.array([len(entry) for entry in group], dtype=np.int64))
        writer.close()
        entries = [entry for group in groups for entry in group]
        file = TokenFile(prefix)
        assert file.sizes.tolist() == [len(entry) for entry in entries]
        assert [file.tokens(i).tolist() for i in range(len(file))] == entries
        if any(entries):  # fairseq cannot map an empty file
            fairseqs = MMapIndexedDataset(str(prefix))
            assert [fairseqs[i].tolist() for i in range(len(fairseqs))] == [
                np.array(entry, dtype=kind).astype(np.int64).tolist() for entry in entries
            ]


Stored = tuple[int, bytes, int, int]  # number of its container, bytes, width, height


@st.composite
def containers_of_images(draw: st.DrawFn) -> tuple[list[str], list[Stored]]:
    """Names of containers, and images in them in any order."""
    names = [f"{i}{name}" for i, name in enumerate(draw(st.lists(NAMES, min_size=1, max_size=4)))]
    pixels = st.integers(1, 2**32 - 1)
    image = st.tuples(st.integers(0, len(names) - 1), st.binary(max_size=40), pixels, pixels)
    return names, draw(st.lists(image, max_size=12))


@given(containers_of_images(), st.booleans())
def test_images(stored: tuple[list[str], list[Stored]], is_outside: bool) -> None:
    names, images = stored
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "elsewhere" if is_outside else None
        place = root / "deep" if root else folder
        place.mkdir(parents=True, exist_ok=True)
        contents = [bytearray() for _ in names]
        records = np.zeros(len(images), dtype=RECORD)
        for number, (container, data, width, height) in enumerate(images):
            offset = len(contents[container])
            records[number] = (container, len(data), offset, width, height, zlib.crc32(data), 0)
            contents[container] += data
        index = images_path(folder, "train")
        writer = ImageIndexWriter(index)
        for container, content in zip(names, contents, strict=True):
            (place / container).write_bytes(content)
            status = (place / container).stat()
            writer.add_container(f"deep/{container}" if root else container, len(content), status.st_mtime_ns)
        half = len(records) // 2
        writer.extend(records[:half])
        writer.extend(records[half:])
        writer.close()
        read = ImageIndex(index, root)
        assert [read.read(i) for i in range(len(read))] == [data for _, data, _, _ in images]
        sizes = [(record.width, record.height) for record in map(read.record, range(len(read)))]
        assert sizes == [(width, height) for _, _, width, height in images]
        assert [read.container_path(i) for i in range(read.containers)] == [place / name for name in names]


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[str], np.ndarray, list[list[int]], list[dict[str, Any]]]:
    """Names of images, image or images of every caption, its tokens and its label fields."""
    names = draw(st.lists(LINES, min_size=1, max_size=6))
    captions, width = draw(st.integers(1, 10)), draw(st.sampled_from([0, 1, 2, 3]))
    shape = (captions, width) if width else (captions,)
    count = captions * max(1, width)
    flat = draw(st.lists(st.integers(0, len(names) - 1), min_size=count, max_size=count))
    entry = st.lists(st.integers(0, 40), min_size=1, max_size=5)
    tokens = draw(st.lists(entry, min_size=captions, max_size=captions))
    field = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers(), max_size=2)
    fields = draw(st.lists(field, min_size=captions, max_size=captions))
    return names, np.array(flat, dtype=np.int64).reshape(shape), tokens, fields


@given(splits())
def test_pairs(split: tuple[list[str], np.ndarray, list[list[int]], list[dict[str, Any]]]) -> None:
    names, pairs, tokens, fields = split
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = ImageIndexWriter(images_path(folder, "train"))
        index.add_container("train.images.bin", 0, 0)
        index.extend(np.zeros(len(names), dtype=RECORD))
        index.close()
        (folder / "train.images.bin").touch()
        np.save(pairs_path(folder, "train"), pairs)
        np.save(hashes_path(folder, "train"), np.zeros(len(names), dtype=HASH))
        lines, labels = LineFileWriter(names_prefix(folder, "train")), LineFileWriter(fields_prefix(folder, "train"))
        lines.extend(names)
        labels.extend(map(json.dumps, fields))
        words = TokenFileWriter(text_prefix(folder, "train"), np.uint16)
        words.extend(np.array([id_ for entry in tokens for id_ in entry]), np.array([len(entry) for entry in tokens]))
        for writer in (lines, labels, words):
            writer.close()
        manifest = {
            "format_version": FORMAT_VERSION,
            "image_store": "packed",
            "splits": {"train": {"fields": {"a": {}}}},
            "tokenizer": {"kind": "sentencepiece"},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        store = PairStore(folder, "train")
        assert [store.images_of(i) for i in range(len(store))] == pairs.reshape(len(pairs), -1).tolist()
        assert [store.names[i] for i in range(len(store.names))] == names
        assert [store.fields(i) for i in range(len(store))] == fields
        assert [store.captions.tokens(i).tolist() for i in range(len(store))] == tokens
