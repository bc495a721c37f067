"""How much has been emitted and how much is stored, looked at twice a second, whatever is broken meanwhile."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from chaos.oracle import SCHEMAS

EVERY_S = 0.5
CONNECT_TIMEOUT_S = 2


@dataclass
class Tail:
    """Counts the records of an oracle as it grows."""

    path: Path
    read: int = 0
    records: int = 0

    def look(self) -> int:
        """How many there are by now."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self.read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self.read += len(whole)
            self.records += sum(line.startswith(b"[") for line in whole.splitlines())
        return self.records


class Progress:
    """`stored` and `emitted` are the last look; `worst_stall_s` the longest time in which nothing more was stored."""

    def __init__(self, oracles: Sequence[Path], conninfo: str) -> None:
        self.emitted = 0
        self.stored = 0
        self.worst_stall_s = 0.0
        self._tails = [Tail(path) for path in oracles]
        self._conninfo = conninfo
        self._connection: psycopg.Connection | None = None
        self._grew_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.emitted = sum(tail.look() for tail in self._tails)
            stored = self._count()
            now = time.monotonic()
            if stored > self.stored:
                self._grew_at = now
            self.stored = max(self.stored, stored)
            self.worst_stall_s = max(self.worst_stall_s, now - self._grew_at)
        if self._connection is not None:
            self._connection.close()

    def _count(self) -> int:
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._conninfo, connect_timeout=CONNECT_TIMEOUT_S, autocommit=True)
            tables = [
                sql.SQL("select count(*) n from {}").format(sql.Identifier("metrics", one.name)) for one in SCHEMAS.values()
            ]
            text = sql.SQL("select sum(n)::bigint from ({}) counts").format(sql.SQL(" union all ").join(tables))
            found = self._connection.execute(text).fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
        except psycopg.Error:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return self.stored
        return int(found[0]) if found else 0
