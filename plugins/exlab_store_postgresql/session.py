"""One connection to the server: statements that go out together, a deadline for the answers, and its end.

The connection is in libpq's pipeline mode: what stands between two synchronisation points is one transaction, and the
client does not wait between its statements [libpq, "Pipeline Mode"].
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import psycopg
from psycopg import pq

from exlab_store.backend import came_from_signal_handler, in_forked_child
from exlab_store_postgresql.sqlstates import ServerRefusal, SessionLost
from exlab_store_postgresql.waiting import READABLE, WRITABLE, ready, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.pq.abc import PGconn, PGresult

__all__ = ["SYNC", "BoundStatement", "DatabaseSession", "Row", "Statement", "later"]

_GOODBYE: Final = 2.0
_BEHIND: Final = 0.02
_INT, _FLOAT, _SHORT = struct.Struct(">q"), struct.Struct(">d"), struct.Struct(">i")
_UNUSABLE: Final = frozenset({"0A000", "26000"})  # a plan, or its name, that the server does not know any more

Row = tuple[Any, ...]


class Statement(NamedTuple):
    """A statement that the server plans once for each connection.

    Attributes:
        text: With ``$1`` for what is passed.
        name: Its name among the server's prepared statements; empty for one that is not kept.
    """

    text: bytes
    name: bytes

    @classmethod
    def of(cls, text: str, *, kept: bool = True) -> Statement:
        """A statement.

        Args:
            text: Its text.
            kept: Whether it is asked for again and again.
        """
        encoded = text.encode()
        return cls(encoded, hashlib.sha256(encoded).hexdigest()[:16].encode() if kept else b"")


class BoundStatement(NamedTuple):
    """A statement with what is passed to it: text, bytes, or whole numbers of 64 bits.

    Attributes:
        statement: The statement.
        values: For ``$1``, ``$2`` and so on.
        optional: A refusal is no error.
    """

    statement: Statement
    values: tuple[str | bytes | int | None, ...] = ()
    optional: bool = False


SYNC: Final = BoundStatement(Statement(b"", b""))
"""The end of a transaction, between two steps."""


def later(seconds: float) -> float:
    """A deadline by the monotonic clock.

    Args:
        seconds: From now.
    """
    return time.monotonic() + seconds


def _encoded(value: str | bytes | int | None) -> bytes | None:
    if isinstance(value, int):
        return _INT.pack(value)
    return value.encode() if isinstance(value, str) else value


_DECODERS: Final[dict[int, Callable[[bytes], Any]]] = {
    16: lambda raw: raw == b"\1",  # bool
    17: bytes,  # bytea
    20: lambda raw: _INT.unpack(raw)[0],  # int8
    23: lambda raw: _SHORT.unpack(raw)[0],  # int4
    701: lambda raw: _FLOAT.unpack(raw)[0],  # float8
    2278: lambda _: None,  # void
}


def _rows(result: PGresult) -> list[Row]:
    columns = range(result.nfields)
    decoders = [_DECODERS.get(result.ftype(column), bytes.decode) for column in columns]
    found: list[Row] = []
    for row in range(result.ntuples):
        raw = [result.get_value(row, column) for column in columns]
        found.append(tuple(None if each is None else decode(each) for decode, each in zip(decoders, raw, strict=True)))
    return found


_sessions: weakref.WeakSet[DatabaseSession]


class DatabaseSession:
    """A connection that one thread uses at a time. ``connecting.connect`` makes one.

    Args:
        pgconn: The connection, made.

    Attributes:
        last_used: When it was given back, by the monotonic clock.
        heard: When the server last answered on it.
        next_xact: No transaction that begins now has a smaller number.
        facts: What the server is, as ``server.facts_of`` has read it.
        loan: What the pool counts while somebody uses it; None while nobody does.
    """

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._process = os.getpid()
        self._prepared: set[bytes] = set()
        self._closed = False
        self.last_used = self.heard = time.monotonic()
        self.next_xact = 0
        self.facts: Any = None
        self.loan: object = None
        pgconn.nonblocking = 1
        pgconn.enter_pipeline_mode()
        _sessions.add(self)

    @property
    def pgconn(self) -> PGconn:
        """The connection of libpq."""
        return self._pgconn

    @property
    def is_foreign(self) -> bool:
        """Whether it belongs to the process that this one was forked from."""
        return self._process != os.getpid()

    @property
    def usable(self) -> bool:
        """Whether nothing speaks against it: the server has not ended it, as far as this machine has heard."""
        if self._closed or self.is_foreign or self._pgconn.status != pq.ConnStatus.OK:
            return False
        try:
            # What the server says unasked may be that it ends the session: the end itself comes right behind that.
            patience = 0.0
            while self._pgconn.status == pq.ConnStatus.OK:
                if not ready(self._pgconn.socket, READABLE, patience):
                    break
                patience = _BEHIND
                self._pgconn.consume_input()
        except psycopg.Error as error:
            if came_from_signal_handler(error):
                raise
            return False
        return bool(self._pgconn.status == pq.ConnStatus.OK)

    def close(self) -> None:
        """Ends the connection, and with it its locks; the server is told where the network lets it."""
        if not self._closed:
            self._closed = True
            if not self.is_foreign:
                self._pgconn.finish()

    def forget(self) -> None:
        """In a forked child: lets go of the socket without a word on it, as it is the parent's.

        A copy of the socket would keep the lock of a parent that has crashed. Its number stays taken, so that libpq
        never writes into another file.
        """
        self._closed = True
        with suppress(OSError, psycopg.Error):
            nothing = os.open(os.devnull, os.O_RDWR)
            try:
                os.dup2(nothing, self._pgconn.socket, inheritable=False)
            finally:
                os.close(nothing)

    def run(
        self, *steps: BoundStatement, deadline: float, cancelled: Callable[[], bool] | None = None
    ) -> list[list[Row]]:
        """Sends statements together, and returns when all are answered: one round trip.

        Args:
            steps: The statements; `SYNC` between two ends a transaction.
            deadline: By the monotonic clock; when it is over, the connection is ended.
            cancelled: Asked every 50 ms; True has the server asked to give up, and the answer is awaited all the same.

        Returns:
            The rows of each step but `SYNC`.

        Raises:
            ServerRefusal: The first step that was refused; later transactions have been tried all the same.
            SessionLost: The connection has ended.
        """
        if self._closed or self.is_foreign:
            raise SessionLost("the connection is closed", sent=False)
        sent = False
        try:
            asked = list(self._send(steps))
            sent = True
            self._flush(deadline)
            return self._answers(asked, deadline, cancelled)
        except (SessionLost, ServerRefusal):
            raise
        except psycopg.Error as error:
            if came_from_signal_handler(error):
                self.close()
                raise
            self.close()
            raise SessionLost(_reason(error), sent=sent) from error
        except BaseException:
            self.close()  # an interruption: what the server still says would be taken for the next answer
            raise

    def _send(self, steps: tuple[BoundStatement, ...]) -> Iterator[tuple[BoundStatement, bytes]]:
        """What answers are to come: for each a step, and the name that it prepares."""
        pgconn = self._pgconn
        for step in steps:
            if step is SYNC:
                pgconn.pipeline_sync()
                yield SYNC, b""
                continue
            (text, name), values = step.statement, [_encoded(value) for value in step.values]
            formats = [pq.Format.BINARY] * len(values)
            if name and name not in self._prepared:
                pgconn.send_prepare(name, text)
                yield step, name
            if name:
                pgconn.send_query_prepared(name, values, formats, pq.Format.BINARY)
            else:
                pgconn.send_query_params(text, values, None, formats, pq.Format.BINARY)
            yield step, b""
        pgconn.pipeline_sync()
        yield SYNC, b""

    def _flush(self, deadline: float) -> None:
        while self._pgconn.flush():
            can, _ = wait_until_ready(self._pgconn.socket, READABLE | WRITABLE, deadline)
            if not can:
                raise self._over("it took the request too slowly")
            if can & READABLE:
                self._pgconn.consume_input()

    def _answers(
        self, asked: list[tuple[BoundStatement, bytes]], deadline: float, cancelled: Callable[[], bool] | None
    ) -> list[list[Row]]:
        found: list[list[Row]] = []
        refusal: ServerRefusal | None = None
        for step, prepares in asked:
            result = self._result(deadline, cancelled)
            status = result.status
            if step is SYNC:
                # A commit that is refused is answered here, behind what the statements were answered with.
                while result.status != pq.ExecStatus.PIPELINE_SYNC:
                    refusal = refusal or self._refusal(result)
                    result = self._result(deadline, cancelled)
                continue
            self._result_is_last(deadline)
            if status in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
                if prepares:
                    self._prepared.add(prepares)
                else:
                    found.append(_rows(result))
                continue
            if status == pq.ExecStatus.FATAL_ERROR:
                said = self._refusal(result)
                if not step.optional:
                    refusal = refusal or said
            if not prepares:
                found.append([])
        self.heard = time.monotonic()
        if refusal is not None:
            if refusal.sqlstate in _UNUSABLE:
                self.close()
            raise refusal
        return found

    def _refusal(self, result: PGresult) -> ServerRefusal:
        """What the server refuses with; raises `SessionLost` where that is the end of the connection."""
        state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        said = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode(errors="replace")
        if not state or self._pgconn.status != pq.ConnStatus.OK or state.startswith("57P"):
            raise self._over(said.strip())
        return ServerRefusal(state, said)

    def _result(self, deadline: float, cancelled: Callable[[], bool] | None) -> PGresult:
        while True:
            self._await(deadline, cancelled)
            result = self._pgconn.get_result()
            if result is not None:
                return result
            if self._pgconn.status != pq.ConnStatus.OK:
                raise self._over(self._pgconn.get_error_message().strip() or "it has ended")

    def _result_is_last(self, deadline: float) -> None:
        """In pipeline mode, nothing follows the result of each statement."""
        self._await(deadline, None)
        while self._pgconn.get_result() is not None:
            self._await(deadline, None)

    def _await(self, deadline: float, cancelled: Callable[[], bool] | None) -> None:
        while self._pgconn.is_busy():
            can, stop = wait_until_ready(self._pgconn.socket, READABLE, deadline, cancelled)
            if stop:
                self._cancel()
                deadline, cancelled = min(deadline, later(_GOODBYE)), None
            elif not can:
                raise self._over("it did not answer in time")
            else:
                self._pgconn.consume_input()

    def _cancel(self) -> None:
        """Asks the server, on a connection of its own, to give up what it does on this one."""
        if pq.version() < 170000:
            raise self._over("the wait was cancelled")  # older libraries have no way to ask without blocking
        asking = self._pgconn.cancel_conn()
        asking.start()
        deadline = later(_GOODBYE)
        while (status := asking.poll()) not in {pq.PollingStatus.OK, pq.PollingStatus.FAILED}:
            events = READABLE if status == pq.PollingStatus.READING else WRITABLE
            if not wait_until_ready(asking.socket, events, deadline)[0]:
                break
        asking.finish()

    def _over(self, reason: str) -> SessionLost:
        self.close()
        return SessionLost(reason, sent=True)


def _reason(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__


_sessions = weakref.WeakSet()


def _forget_in_child() -> None:
    for session in list(_sessions):
        session.forget()


in_forked_child(_forget_in_child)
