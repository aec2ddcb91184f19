"""A dictionary on disk: what a reader must look up is not held in memory, however long the source."""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CACHE_KIB = 32 * 1024


def open_database(path: Path) -> sqlite3.Connection:
    """A SQLite file for scratch data: no journal, bounded cache."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return database


class DiskTable:
    """Keys to JSON values. Keys are integers or strings; the first value of a key stays.

    Args:
        path: a file that does not exist yet.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._database = open_database(path)
        self._database.execute("CREATE TABLE entries (key PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")

    def fill(self, items: Iterable[tuple[int | str, Any]]) -> None:
        """Add entries in one transaction."""
        self._database.execute("BEGIN")
        rows = ((key, json.dumps(value)) for key, value in items)
        self._database.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?)", rows)
        self._database.execute("COMMIT")

    def setdefault(self, key: int | str, value: Any) -> Any:
        """The value of a key; where it has none, it gets this one."""
        known = self.get(key)
        if known is None:
            self._database.execute("INSERT INTO entries VALUES (?, ?)", (key, json.dumps(value)))
            return value
        return known

    def get(self, key: int | str) -> Any:
        """The value of a key, or None."""
        row = self._database.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()
