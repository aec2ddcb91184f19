"""The table that img2dataset writes beside each archive: it tells which images could not be downloaded, and why."""

from importlib.util import find_spec

from ..files import open_binary
from ..records import PrepError, RejectionLog

_ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_COLUMNS = ("key", "url", "caption", "status", "error_message")
_ROWS_AT_ONCE = 1000
_SUCCESS = "success"


def table_beside(archive: str) -> str | None:
    """Name of the table of an archive, ``00000.parquet`` for ``00000.tar``; whether there is one is not checked."""
    suffix = next((suffix for suffix in _ARCHIVE_SUFFIXES if archive.endswith(suffix)), None)
    return None if suffix is None else f"{archive.removesuffix(suffix)}.parquet"


def can_read_tables() -> bool:
    """Whether pyarrow is installed."""
    return find_spec("pyarrow") is not None


def list_failed_downloads(archive: str, log: RejectionLog) -> None:
    """List the images that are not in an archive because their download failed.

    Args:
        archive: path or URL of the archive. Nothing is listed where it has no table, or where pyarrow is not installed.
        log: takes an entry an image, with the table as source and img2dataset's key as position.
    """
    path = table_beside(archive)
    if path is None or not can_read_tables():
        return
    import pyarrow
    from pyarrow import parquet

    try:
        file = open_binary(path)
    except OSError:
        return
    except PrepError as error:
        log.add("damaged table", f"img2dataset's table cannot be read: {error}", path, "")
        return
    with file:
        try:
            table = parquet.ParquetFile(file)
            columns = [name for name in _COLUMNS if name in table.schema_arrow.names]
            if "status" not in columns:
                return
            for batch in table.iter_batches(_ROWS_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    if row["status"] != _SUCCESS:
                        _add(row, path, log)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            log.add("damaged table", f"img2dataset's table cannot be read: {error}", path, "")


def _add(row: dict[str, object], path: str, log: RejectionLog) -> None:
    key, url, caption, status, error = (None if row.get(name) is None else str(row[name]) for name in _COLUMNS)
    log.add("not downloaded", f"{status}: {error}" if error else f"{status}", path, key or "", url, caption)
