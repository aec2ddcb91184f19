import pickle
from pathlib import Path

import numpy as np
import pytest

from mvlm_plugin.data.databin import DataBinError
from mvlm_plugin.data.line_file import LineFile, LineFileWriter

LINES = ["first", "", "zweite Zeile: größer", "\U0001f600\r\t\0\u2028", "half a character \ud83d", "x" * 70_000]


def write(folder: Path, lines: list[str]) -> Path:
    prefix = folder / "train.names"
    writer = LineFileWriter(prefix)
    writer.add(lines[0]) if lines else None
    writer.extend(lines[1:])
    writer.close()
    return prefix


def test_lines_come_back_by_number(tmp_path: Path) -> None:
    lines = LineFile(write(tmp_path, LINES))
    assert len(lines) == len(LINES)
    assert [lines[i] for i in (5, 0, 3, 1, 4, 2)] == [LINES[i] for i in (5, 0, 3, 1, 4, 2)]
    assert list(pickle.loads(pickle.dumps(lines))) == LINES


def test_the_files_are_plain_lines_and_offsets(tmp_path: Path) -> None:
    prefix = write(tmp_path, ["ab", "é"])
    assert Path(f"{prefix}.bin").read_bytes() == "ab\né\n".encode()
    assert np.fromfile(f"{prefix}.idx", "<u8").tolist() == [0, 3, 6]


def test_no_lines_are_valid(tmp_path: Path) -> None:
    assert len(LineFile(write(tmp_path, []))) == 0


def test_numbers_outside_are_refused(tmp_path: Path) -> None:
    lines = LineFile(write(tmp_path, ["a", "b"]))
    for index in (-1, 2):
        with pytest.raises(IndexError):
            lines[index]


def test_a_line_feed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not hold a line feed"):
        LineFileWriter(tmp_path / "x").add("two\nlines")


@pytest.mark.parametrize("suffix", ["bin", "idx"])
@pytest.mark.parametrize("change", ["missing", "empty", "longer", "shorter"])
def test_files_that_do_not_fit_together_are_refused(tmp_path: Path, suffix: str, change: str) -> None:
    path = Path(f"{write(tmp_path, LINES)}.{suffix}")
    data = path.read_bytes()
    path.unlink()
    if change != "missing":
        path.write_bytes({"empty": b"", "longer": data + bytes(8), "shorter": data[:-8]}[change])
    with pytest.raises(DataBinError, match=r"train\.names"):
        LineFile(tmp_path / "train.names")


@pytest.mark.parametrize("offsets", [[0, 6, 3, 9], [0, 3, 2**63, 9], [0, 4, 6, 9], [0, 3, 3, 9]])
def test_offsets_that_point_elsewhere_are_refused_when_read(tmp_path: Path, offsets: list[int]) -> None:
    prefix = write(tmp_path, ["ab", "cd", "ef"])
    np.array(offsets, "<u8").tofile(f"{prefix}.idx")
    with pytest.raises(DataBinError, match="is damaged"):
        list(LineFile(prefix))


def test_bytes_that_are_no_text_are_refused_when_read(tmp_path: Path) -> None:
    prefix = write(tmp_path, ["ab", "cd"])
    Path(f"{prefix}.bin").write_bytes(b"ab\n\xff\xfe\n")
    assert LineFile(prefix)[0] == "ab"
    with pytest.raises(DataBinError, match=r"line 1 of .* is damaged"):
        LineFile(prefix)[1]
