"""A small S3 server that misbehaves as real ones do: it ignores conditions, matches no ETag, is full, or is slow.

It speaks as much of S3 as the backend needs, over HTTP/1.1, byte for byte as the servers were seen to answer. It keeps
objects in memory and looks at no signature.
"""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

BUCKET = "lab"

Flaw = str
FLAWS = (
    "ignores If-None-Match",
    "ignores If-Match",
    "matches no quoted ETag",
    "ignores If-Match of DELETE",
    "does not know conditions",
)


@dataclass
class StandIn:
    """Such a server.

    Attributes:
        flaws: Of `FLAWS`.
        objects: Each with its metadata.
        answer: Asked before each request, with its method and the object's name: a status and S3's word for it, to be
            answered instead; None to go on.
        seen: The requests, as methods and names.
        repeats: Each PUT arrives twice, as from a proxy that repeats it, and the second answer is given.
    """

    flaws: frozenset[Flaw] = frozenset()
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    answer: Callable[[str, str], tuple[int, str] | None] = lambda _method, _name: None
    seen: list[tuple[str, str]] = field(default_factory=list)
    repeats: bool = False
    port: int = 0
    mutex: threading.Lock = field(default_factory=threading.Lock)

    @property
    def options(self) -> dict[str, Any]:
        """An account; every key is right."""
        return {
            "endpoint": f"http://127.0.0.1:{self.port}",
            "access_key_id": "standin",
            "secret_access_key": "standin-Secret-0817",
            "timeout": 6.0,
        }

    @property
    def url(self) -> str:
        """The location of its bucket."""
        return f"s3://{BUCKET}"


def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in two packets would wait 40 ms for the client's acknowledgement
    stand_in: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(30)

    @property
    def _name(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").removeprefix("/")

    def _begin(self) -> bytes | None:
        """The body, unless something is answered instead."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.stand_in.seen.append((self.command, self._name))
        if urlsplit(self.path).path.split("/")[1] != BUCKET:
            self._refuse(404, "NoSuchBucket")
            return None
        instead = self.stand_in.answer(self.command, self._name)
        if instead is not None:
            self._refuse(*instead)
            return None
        return body

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}) and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>no</Message></Error>'
        self._send(status, b"" if self.command == "HEAD" else text.encode(), {"Content-Type": "application/xml"})

    def _matches(self, wanted: str, data: bytes | None) -> bool:
        if data is None:
            return False
        if "matches no quoted ETag" in self.stand_in.flaws:
            return wanted == etag_of(data).strip('"')
        return wanted.strip('"') == etag_of(data).strip('"')

    def _condition_refused(self, name: str, ignored: str) -> bool:
        found = self.stand_in.objects.get(name)
        data = None if found is None else found[0]
        creates = self.headers.get("If-None-Match") and "ignores If-None-Match" not in self.stand_in.flaws
        if creates and data is not None:
            return True
        wanted = self.headers.get("If-Match")
        return wanted is not None and ignored not in self.stand_in.flaws and not self._matches(wanted, data)

    def do_PUT(self) -> None:
        body = self._begin()
        if body is None:
            return
        name = self._name
        conditional = self.headers.get("If-Match") or self.headers.get("If-None-Match")
        if conditional and "does not know conditions" in self.stand_in.flaws:
            self._refuse(501, "NotImplemented")
            return
        with self.stand_in.mutex:
            for _ in range(2 if self.stand_in.repeats else 1):
                refused = self._condition_refused(name, "ignores If-Match")
                if refused:
                    continue
                marks = {
                    key.lower(): value for key, value in self.headers.items() if key.lower().startswith("x-amz-meta-")
                }
                marks["Last-Modified"] = formatdate(time.time(), usegmt=True)
                self.stand_in.objects[name] = body, marks
        if refused:
            self._refuse(412, "PreconditionFailed")
        else:
            self._send(200, b"", {"ETag": etag_of(body)})

    def _found(self) -> None:
        if self._begin() is None:
            return
        query = parse_qs(urlsplit(self.path).query)
        if not self._name:
            self._list(query)
            return
        found = self.stand_in.objects.get(self._name)
        if found is None:
            self._refuse(404, "NoSuchKey")
            return
        data, marks = found
        self._send(200, data, {**marks, "ETag": etag_of(data), "Content-Length": str(len(data))})

    do_GET = _found  # noqa: N815
    do_HEAD = _found  # noqa: N815

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        contents, prefixes = "", set()
        for name, (data, _) in sorted(self.stand_in.objects.items()):
            if not name.startswith(prefix):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            contents += (
                f"<Contents><Key>{escape(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{escape(etag_of(data))}</ETag><Size>{len(data)}</Size></Contents>"
            )
        common = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in prefixes)
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
        self._send(200, text.encode(), {"Content-Type": "application/xml"})

    def do_DELETE(self) -> None:
        if self._begin() is None:
            return
        with self.stand_in.mutex:
            refused = self._condition_refused(self._name, "ignores If-Match of DELETE")
            if not refused:
                self.stand_in.objects.pop(self._name, None)
        if refused:
            self._refuse(412, "PreconditionFailed")
        else:
            self._send(204)

    def do_POST(self) -> None:
        """DeleteObjects."""
        body = self._begin()
        if body is None:
            return
        import xml.etree.ElementTree as ElementTree

        deleted = ""
        for key in ElementTree.fromstring(body).iter():
            if key.tag.endswith("Key") and key.text:
                self.stand_in.objects.pop(key.text, None)
                deleted += f"<Deleted><Key>{escape(key.text)}</Key></Deleted>"
        self._send(200, f"<DeleteResult>{deleted}</DeleteResult>".encode(), {"Content-Type": "application/xml"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away


@contextmanager
def running_stand_in(*flaws: Flaw, tls: ssl.SSLContext | None = None) -> Iterator[StandIn]:
    """Starts such a server, and ends it.

    Args:
        flaws: Of `FLAWS`.
        tls: Its certificate; None for HTTP.
    """
    from exlab_store_s3 import conditions  # it needs obstore, without which the tests skip

    assert set(flaws) <= set(FLAWS)
    conditions._shown.clear()  # pyright: ignore[reportPrivateUsage]  # a port may be that of a server before this one
    stand_in = StandIn(frozenset(flaws))
    handler = type("Handler", (_Handler,), {"stand_in": stand_in})
    with _Server(("127.0.0.1", 0), handler) as server:
        stand_in.port = server.server_address[1]
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            server.shutdown()
            thread.join(10)
