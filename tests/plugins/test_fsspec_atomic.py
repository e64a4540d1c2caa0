"""Where fsspec's documents are replaced in one step: shown with readers under a writer, and nowhere else claimed."""

from __future__ import annotations

import ast
import threading
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exlab_store_fsspec.claims import ATOMIC, claims_of
from exlab_store_fsspec.protocols import protocol_of
from exlab_store_fsspec.webdav import APACHE, NGINX, DavServer, identified
from fsspec.implementations.memory import MemoryFileSystem
from httpx import Headers
from web_servers import running_web_server

from exlab_store import GuaranteeNotMet, Guarantees, Store, StoreError, open_store
from exlab_store.clients.witness import is_whole, sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.one_interpreter

_BODY = 200_000
_KEY = "folder/document.json"


@contextmanager
def _two_clients(kind: str) -> Iterator[tuple[Store, Store]]:
    if kind == "memory":
        location = f"fsspec+memory://{uuid.uuid4().hex}"
        with open_store(location, create=True) as one, open_store(location, create=True) as other:
            yield one, other
        MemoryFileSystem.store.clear()
        return
    with (
        running_web_server("apache" if kind == "apache" else "nginx") as server,
        open_store(server.location(), tls=False) as one,
        open_store(server.location(), tls=False) as other,
    ):
        yield one, other


def _reads_under_a_writer(writer: Store, reader: Store, seconds: float) -> Counter[str]:
    """What two readers see while documents of different lengths replace each other."""
    seen: Counter[str] = Counter()
    over = threading.Event()
    writer.atomic_write(_KEY, sealed("writer", 0, _BODY))

    def read() -> None:
        while not over.is_set():
            try:
                whole = is_whole(reader.read_snapshot(_KEY).data)
            except StoreError:
                seen["refused"] += 1
            else:
                seen["whole" if whole else "cut"] += 1

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until and not seen["cut"]:
        number += 1
        writer.atomic_write(_KEY, sealed("writer", number, _BODY))
    over.set()
    for each in readers:
        each.join()
    return seen


@pytest.mark.parametrize("kind", ["memory", "nginx"])
def test_readers_under_a_writer_see_whole_documents(kind: str) -> None:
    with _two_clients(kind) as (writer, reader):
        assert writer.guarantees.atomic_replace
        seen = _reads_under_a_writer(writer, reader, 3.0)
    assert seen["whole"] > 0
    assert (seen["cut"], seen["refused"]) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "nginx"])
def test_readers_under_a_writer_see_whole_documents_for_a_minute(kind: str) -> None:
    with _two_clients(kind) as (writer, reader):
        seen = _reads_under_a_writer(writer, reader, 60.0)
    print(seen)
    assert (seen["cut"], seen["refused"]) == (0, 0)


@pytest.mark.slow
def test_apache_cuts_documents_for_readers_under_a_writer() -> None:
    """Why nothing is claimed there: the length is that of the file before, and the bytes of the file then opened."""
    with _two_clients("apache") as (writer, reader):
        seen = _reads_under_a_writer(writer, reader, 60.0)
    print(seen)
    assert seen["cut"] > 0


def test_apache_is_not_claimed_to_be_atomic_and_the_refusal_says_why() -> None:
    with running_web_server("apache") as server:
        with open_store(server.location(), tls=False) as store:
            assert store.guarantees == Guarantees(lists=True, deletes=True, watch="polled")
        needed = Guarantees.at_least(atomic_replace=True)
        with pytest.raises(GuaranteeNotMet, match=r"no more of it than the document before had.*nginx since 1\.22"):
            open_store(server.location(), tls=False, require=needed)


def test_nginx_is_not_claimed_to_list_as_it_leaves_names_out() -> None:
    with running_web_server("nginx") as server, open_store(server.location(), tls=False) as store:
        assert store.guarantees == Guarantees(atomic_replace=True, deletes=True)
        assert "begin with a dot" in store.unclaimed["lists"]


def test_each_row_of_the_table_names_a_test_that_is_there() -> None:
    for row in ATOMIC:
        path, _, name = row.test.partition("::")
        function, _, parameter = name.rstrip("]").partition("[")
        tree = ast.parse((Path(__file__).parents[2] / path).read_text(encoding="utf-8"))
        (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
        assert parameter in ast.unparse(found.decorator_list[0])


@pytest.mark.parametrize("protocol", ["file", "ftp", "gcs", "hdfs", "http", "zip", "github", "sftp", "nobody-knows"])
def test_nothing_but_looking_and_deleting_is_claimed_of_other_protocols(protocol: str) -> None:
    claimed, reasons = claims_of(protocol_of(protocol), None)
    assert claimed in {
        Guarantees(lists=True, deletes=True),
        Guarantees(lists=True),
        Guarantees(),
    }
    assert reasons.keys() >= {"atomic_replace", "durable", "conditional_write", "lock_scope", "fenced", "fresh"}


_OF_MOD_DAV_FS = "1,2, <http://apache.org/dav/propset/fs/1>"


@pytest.mark.parametrize(
    ("headers", "server"),
    [
        ({"Server": "Apache/2.4.71 (Debian)", "DAV": _OF_MOD_DAV_FS}, DavServer(APACHE, (2, 4, 71))),
        ({"Server": "Apache", "DAV": _OF_MOD_DAV_FS}, DavServer(APACHE)),
        ({"Server": "nginx/1.22.1", "DAV": _OF_MOD_DAV_FS, "MS-Author-Via": "DAV"}, DavServer(APACHE)),
        ({"Server": "nginx/1.22.1", "DAV": "1"}, DavServer(NGINX, (1, 22, 1))),
        ({"Server": "nginx", "DAV": "2"}, DavServer(NGINX)),
        ({"Server": "nginx/1.22.1", "DAV": "1, 2", "MS-Author-Via": "DAV"}, DavServer("")),  # rclone behind nginx
        ({"Server": "nginx/1.22.1"}, DavServer("")),
        ({"Server": "nginx-clone/9", "DAV": "1"}, DavServer("")),
        ({}, DavServer("")),
    ],
)
def test_a_server_is_known_by_what_it_says_of_webdav_and_not_by_its_name(
    headers: dict[str, str], server: DavServer
) -> None:
    assert identified(Headers(headers)) == server


@pytest.mark.parametrize(
    ("server", "atomic"),
    [
        (DavServer(NGINX, (1, 22, 1)), True),
        (DavServer(NGINX, (1, 27)), True),
        (DavServer(NGINX, (1, 18)), False),
        (DavServer(NGINX), False),
        (DavServer(APACHE, (2, 4, 71)), False),
        (DavServer(""), False),
    ],
)
def test_a_server_is_claimed_from_the_version_on_that_was_tried(server: DavServer, atomic: bool) -> None:
    assert claims_of(protocol_of("webdav"), server)[0].atomic_replace is atomic
