from pathlib import Path

import pytest
from fairseq.data import Dictionary

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.dictionary import TokenIds

LINES = {
    "plain": "a 1\n▁dog 1\ndog 3\n",
    "spaces and marks": "a b 1\n\u3000x 2\né 1\n123 4\n",
    "no line feed at the end": "a 1\nb 2",
    "carriage returns": "a 1\r\nb 2\r\n",
    "overwritten": "a 1\nb 1\na 5 #fairseq:overwrite\nc 1\n",
    "special again": "<unk> 1 #fairseq:overwrite\nx 1\n",
    "empty": "",
}


@pytest.mark.parametrize("case", LINES)
def test_ids_are_those_of_fairseq(tmp_path: Path, case: str) -> None:
    path = tmp_path / "dict.txt"
    path.write_text(LINES[case], encoding="utf-8", newline="")
    theirs, ours = Dictionary.load(str(path)), TokenIds(path)
    assert len(ours) == len(theirs)
    assert [ours[number] for number in range(len(ours) + 3)] == [theirs[number] for number in range(len(theirs) + 3)]
    symbols = [*theirs.symbols, "unknown", ""]
    assert [ours.index(symbol) for symbol in symbols] == [theirs.index(symbol) for symbol in symbols]
    assert (ours.bos(), ours.pad(), ours.eos(), ours.unk()) == (theirs.bos(), theirs.pad(), theirs.eos(), theirs.unk())


@pytest.mark.parametrize("content", [b"a 1\na 2\n", b"a\n", b"a x\n", b"\n", b"\xff 1\n", b"<s> 1\n"])
def test_what_fairseq_refuses_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dict.txt"
    path.write_bytes(content)
    with pytest.raises(Exception):  # noqa: B017, PT011 (fairseq raises several types)
        Dictionary.load(str(path))
    with pytest.raises(DataBinError, match=r"dict\.txt cannot be read"):
        TokenIds(path)
    with pytest.raises(DataBinError):
        TokenIds(tmp_path / "missing.txt")
