"""JSON lines: one object a line, read in bounded memory."""

import json
from collections.abc import Iterator
from typing import Any

from ..records import PrepError, RejectionLog
from .text_lines import bounded_lines


def parse_json(raw: bytes) -> Any:
    """The JSON value that some bytes hold.

    Raises:
        ValueError: they are not UTF-8, not JSON, or nested too deeply; the message is for people.
    """
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise ValueError("not usable JSON: nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error


def json_lines(path: str, log: RejectionLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file and their line numbers, from 1. Blank lines are skipped, unusable ones logged.

    Args:
        path: local path or URL.
        log: takes lines that are not JSON objects, not UTF-8, or longer than 16 MiB.

    Raises:
        PrepError: no line of the file is a JSON object.
        OSError: the file cannot be read.
    """
    usable = False
    for number, line in bounded_lines(path, log):
        if line is None or not line.strip():
            continue
        try:
            entry = parse_json(line)
        except ValueError as error:
            log.add("malformed line", str(error), path, number)
            continue
        if isinstance(entry, dict):
            usable = True
            yield number, entry
        else:
            log.add("malformed line", f"the JSON is {type(entry).__name__}, not an object", path, number)
    if not usable:
        raise PrepError(f"{path} has no line that is a JSON object: give a file of JSON lines, one object a line")
