"""Lines of text files in bounded memory: byte order marks, bad bytes and endless lines are dealt with here."""

from collections.abc import Iterator

from ..files import open_binary
from ..records import RejectionLog

MAX_LINE = 16 * 2**20
_BLOCK = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: names of files, and texts of JSON, may hold halves of characters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def bounded_lines(path: str, log: RejectionLog) -> Iterator[tuple[int, bytes | None]]:
    """Number (from 1) and bytes of each line, without its line feed; None for one of more than 16 MiB, which is logged.

    Raises:
        PrepError, OSError: as open_binary.
    """
    number, rest, too_long = 1, b"", False
    with open_binary(path) as file:
        block = file.read(_BLOCK).removeprefix(BYTE_ORDER_MARK)
        while block:
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield number, None if too_long else line
                number, too_long = number + 1, False
            if len(rest) > MAX_LINE and not too_long:
                log.add("malformed line", f"longer than {MAX_LINE >> 20} MiB", path, number)
                too_long = True
            if too_long:
                rest = b""
            block = file.read(_BLOCK)
    if rest or too_long:
        yield number, None if too_long else rest


def text_lines(path: str, log: RejectionLog) -> Iterator[tuple[int, str | None]]:
    """Number (from 1) and text of each line, without its end; None for one that is not usable, which is logged.

    Raises:
        PrepError, OSError: as open_binary.
    """
    for number, line in bounded_lines(path, log):
        text = None
        if line is not None:
            try:
                text = line.rstrip(b"\r").decode("utf-8")
            except UnicodeDecodeError as error:
                log.add("malformed line", f"not UTF-8: {error.reason} at byte {error.start}", path, number)
        yield number, text


def tab_rows(path: str, count: int, log: RejectionLog, hint: str = "") -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that has ``count`` tab-separated fields; blank lines are skipped, others logged.

    Args:
        path: file to read.
        count: fields that a line has.
        log: takes the lines that cannot be used.
        hint: added to the reason where a line has more fields.

    Raises:
        PrepError, OSError: as open_binary.
    """
    for number, text in text_lines(path, log):
        if text is None or not text.strip():
            continue
        fields = text.split("\t")
        if len(fields) == count:
            yield number, fields
            continue
        reason = f"expected {count} tab-separated fields, found {len(fields)}" + (hint if len(fields) > count else "")
        log.add("malformed line", reason, path, number, fields[0])


def image_rows(path: str, count: int, log: RejectionLog, hint: str = "") -> Iterator[tuple[int, list[str]]]:
    """As tab_rows, for lines whose first field names an image: those with an empty name are logged too."""
    for number, fields in tab_rows(path, count, log, hint):
        if fields[0].strip():
            yield number, fields
        else:
            log.add("malformed line", "the image name is empty", path, number, fields[0])
