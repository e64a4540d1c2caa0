"""The table of the documents: its statements, and how it is found and made.

    key       text, primary key, in the order of its bytes (collate "C")
    data      bytea, the document
    version   bytea, SHA-256 of data: the database itself computes it, so whoever writes with SQL cannot forget it
    modified  when it was written, by the server's clock
    xact      the number of the transaction that wrote it; with
    mark      16 random bytes of each write, it tells whether a write whose answer was lost has happened

Beside it stands NAME_holders, who holds which lock, for those who wait; it is no lock, and an unlogged table, as the
locks too are gone when the server has crashed. A trigger tells of each change, whoever makes it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from exlab_store.backend import AccessDenied, LocationError
from exlab_store_postgresql.session import SYNC, BoundStatement, Statement
from exlab_store_postgresql.sqlstates import ServerRefusal, translated

if TYPE_CHECKING:
    from exlab_store_postgresql.session import DatabaseSession

__all__ = ["DocumentTable", "FoundTable", "document_table"]

_COLUMNS: Final = {"key", "data", "version", "modified", "xact", "mark"}

_LOOK: Final = Statement.of(
    """
    select c.relpersistence::text = 'p',
           (select string_agg(a.attname, ' ') from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
           (select count(*) from pg_trigger t where t.tgrelid = c.oid and t.tgname = $3 and t.tgenabled in ('O', 'A'))
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relname = $2
    """
)


class FoundTable(NamedTuple):
    """What is known of a table that is there.

    Attributes:
        permanent: It is neither unlogged nor temporary.
        tells: It has the trigger that tells of changes.
    """

    permanent: bool
    tells: bool


@lru_cache(maxsize=64)
def document_table(schema: str, name: str) -> DocumentTable:
    """The statements for a table, put together once.

    Args:
        schema: Its schema.
        name: Its name.
    """
    return DocumentTable(schema, name)


class DocumentTable:
    """A table of documents, by its name. The parameters of a statement stand behind it.

    Args:
        schema: Its schema, a plain name.
        name: Its name, a plain name.
    """

    def __init__(self, schema: str, name: str) -> None:
        self._schema, self._name = schema, name
        self.full_name = f"{schema}.{name}"
        self.channel = f"exlab_store_{hashlib.sha256(self.full_name.encode()).hexdigest()[:16]}"
        table, holders = f'"{schema}"."{name}"', f'"{schema}"."{name}_holders"'
        written = "data = $2, mark = $3, modified = clock_timestamp(), xact = pg_current_xact_id()"
        found = "xact::text::int8"
        # "0" is the character after "/".
        below = "key >= $1 || '/' and key < $1 || '0'"
        free = (
            f"not exists (select 1 from {table} where {below}) "
            f"and not exists (select 1 from {table} where key = any(string_to_array($4, E'\\n')))"
        )
        inserted = f"insert into {table} (key, data, mark) select $1::text, $2::bytea, $3::bytea where {free}"
        looked = "octet_length(data)::int8, extract(epoch from modified)::float8, encode(version, 'hex')"
        last = "split_part(substr(key, $1::int8::int4), '/', 1)"
        deeper = "strpos(substr(key, $1::int8::int4), '/') > 0"
        entries = (
            f"select {last}, bool_or(not {deeper}), bool_or({deeper}), "
            f"max(octet_length(data)) filter (where not {deeper})::int8, "
            f"max(extract(epoch from modified)::float8) filter (where not {deeper}) from {table}"
        )
        of = Statement.of
        self.read = of(
            "select data, extract(epoch from modified)::float8, pg_snapshot_xmax(pg_current_snapshot())::text::int8 "
            f"from {table} where key = $1"
        )
        self.update = of(f"update {table} set {written} where key = $1 returning {found}")
        self.swap = of(f"update {table} set {written} where key = $1 and version = $4::bytea returning {found}")
        self.insert = of(f"{inserted} on conflict (key) do nothing returning {found}")
        self.upsert = of(
            f"{inserted} on conflict (key) do update set data = excluded.data, mark = excluded.mark, "
            f"modified = clock_timestamp(), xact = pg_current_xact_id() returning {found}"
        )
        self.delete = of(f"delete from {table} where key = $1 returning pg_current_xact_id()::text::int8")
        self.delete_version = of(
            f"delete from {table} where key = $1 and version = $2::bytea returning pg_current_xact_id()::text::int8"
        )
        # Whoever makes a document keeps others from making one of the same name as a folder, and the other way round.
        self.claim = of(
            "select pg_advisory_xact_lock_shared(hashtextextended($2 || folder, 1))::text "
            "from unnest(string_to_array($3, E'\\n')) with ordinality as above (folder, depth) "
            "union all select pg_advisory_xact_lock(hashtextextended($2 || $1, 1))::text"
        )
        self.outcome = of(f"select mark = $2::bytea, {found} from {table} where key = $1")
        self.stat = of(f"select {looked} from {table} where key = $1")
        self.is_folder = of(f"select exists (select 1 from {table} where {below})")
        self.list_all = of(f"select key from {table}")
        self.list_below = of(f"select key from {table} where {below}")
        self.entries_of_all = of(f"{entries} group by 1")
        self.entries_below = of(f"{entries} where key >= $2 || '/' and key < $2 || '0' group by 1")
        recorded = (
            f"insert into {holders} (number, key, pid, owner) "
            "select $1::int8, $2::text, pg_backend_pid(), $3::text where {taken} "
            "on conflict (number) do update set key = excluded.key, pid = excluded.pid, owner = excluded.owner "
            "returning pg_current_xact_id()::text::int8"
        )
        self.try_lock = of(recorded.format(taken="pg_try_advisory_lock($1::int8)"))
        self.await_lock = of(recorded.format(taken="pg_advisory_lock($1::int8)::text is not null"))
        self.unlock = of("select pg_advisory_unlock($1::int8)")
        self.unlock_written = of(
            f"select pg_advisory_unlock($1::int8) from {table} where key = $2 and mark = $3::bytea"
        )
        held = (
            f"select h.key, h.owner from {holders} h join pg_locks l on l.locktype = 'advisory' and l.granted "
            "and l.database = (select oid from pg_database where datname = current_database()) and l.objsubid = 1 "
            "and l.pid = h.pid and (l.classid::int8 << 32) | l.objid::int8 = h.number"
        )
        self.holder = of(f"{held} where h.number = $1::int8")
        self.held_below = of(f"{held} where $1 = '' or h.key >= $1 || '/' and h.key < $1 || '0'")

    def found(self, session: DatabaseSession, deadline: float) -> FoundTable | None:
        """Looks for the table.

        Args:
            session: A connection.
            deadline: By the monotonic clock.

        Returns:
            What it is, or None.

        Raises:
            LocationError: It is another program's.
            ServerRefusal: The server refuses.
            SessionLost: The connection has ended.
        """
        (rows,) = session.run(
            BoundStatement(_LOOK, (self._schema, self._name, f"{self._name}_changed")), deadline=deadline
        )
        if not rows:
            return None
        permanent, columns, triggers = rows[0]
        if not set(str(columns).split()) >= _COLUMNS:
            raise LocationError(
                f"the table {self.full_name} is not one of exlab-store",
                hint="Choose another name with the option table.",
            )
        return FoundTable(bool(permanent), bool(triggers))

    def make(self, session: DatabaseSession, deadline: float) -> None:
        """Makes the table with all that belongs to it, in one transaction; what is there stays as it is.

        Args:
            session: A connection.
            deadline: By the monotonic clock.

        Raises:
            LocationError: There is no such schema.
            AccessDenied: The role may not make tables in it.
            StoreError: The server refuses.
            SessionLost: The connection has ended.
        """
        steps = [BoundStatement(Statement.of(text, kept=False)) for text in self._definition()]
        try:
            session.run(*steps, SYNC, deadline=deadline)
        except ServerRefusal as refusal:
            if refusal.sqlstate == "3F000":
                raise LocationError(
                    f"there is no schema {self._schema!r} in the database",
                    hint=f'Have it made: create schema "{self._schema}".',
                ) from refusal
            if refusal.sqlstate == "42501":
                raise AccessDenied(
                    f"cannot make the table {self.full_name}: {refusal.message}",
                    hint=f'Grant it: grant create, usage on schema "{self._schema}" to the role.',
                ) from refusal
            raise translated(refusal, f"make the table {self.full_name}") from refusal

    def _definition(self) -> list[str]:
        schema, name = self._schema, self._name
        table, function = f'"{schema}"."{name}"', f'"{schema}"."{name}_changed"'
        return [
            # Two programs that make it at once: the second finds it made.
            f"select pg_advisory_xact_lock(hashtextextended('exlab-store {self.full_name}', 2))",
            f"""
            create table if not exists {table} (
                key text collate "C" primary key,
                data bytea not null,
                version bytea not null generated always as (sha256(data)) stored,
                modified timestamptz not null default clock_timestamp(),
                xact xid8 not null default pg_current_xact_id(),
                mark bytea
            )
            """,
            f"""
            create unlogged table if not exists "{schema}"."{name}_holders" (
                number int8 primary key,
                key text collate "C" not null,
                pid int4 not null,
                owner text not null
            )
            """,
            f"""
            create or replace function {function}() returns trigger language plpgsql set search_path = pg_catalog as $$
            begin
                if tg_op = 'TRUNCATE' then
                    perform pg_notify('{self.channel}', '');
                elsif tg_op = 'INSERT' then
                    perform pg_notify('{self.channel}', new.key);
                else
                    perform pg_notify('{self.channel}', old.key);
                    if tg_op = 'UPDATE' and new.key <> old.key then
                        perform pg_notify('{self.channel}', new.key);
                    end if;
                end if;
                return null;
            end
            $$
            """,
            f"""
            create or replace trigger "{name}_changed" after insert or update or delete on {table}
            for each row execute function {function}()
            """,
            f"""
            create or replace trigger "{name}_emptied" after truncate on {table}
            for each statement execute function {function}()
            """,
            f"comment on table {table} is 'Documents of exlab-store'",
        ]
