"""Each failure of S3 is an error of its own, says what to do, and shows no secret."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import subprocess
import sys
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from s3_stand_in import running_stand_in
from seaweed_server import BUCKET, running_seaweed

from exlab_store import (
    ABSENT,
    AccessDenied,
    BackendUnavailable,
    InvalidKey,
    LocationError,
    NotSupported,
    Secret,
    StorageFull,
    Store,
    StoreError,
    WriteOutcomeUnknown,
    open_store,
)

pytest.importorskip("obstore")

from exlab_store_s3 import S3Options
from exlab_store_s3.client import client_of
from exlab_store_s3.requests import OperationDeadline, Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from s3_stand_in import StandIn
    from seaweed_server import SeaweedServer

pytestmark = pytest.mark.one_interpreter


@pytest.fixture
def server() -> Iterator[StandIn]:
    with running_stand_in() as found:
        yield found


def _refused(url: str, **options: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        open_store(url, **options).close()
    assert str(options.get("secret_access_key")) not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_a_wrong_key_is_access_denied(seaweed: SeaweedServer) -> None:
    error = _refused(f"s3://{BUCKET}", **seaweed.options | {"secret_access_key": "wrong-Secret-1"})
    assert isinstance(error, AccessDenied)
    assert "does not accept the key (SignatureDoesNotMatch)" in str(error)


def test_an_unknown_key_is_access_denied(seaweed: SeaweedServer) -> None:
    error = _refused(f"s3://{BUCKET}", **seaweed.options | {"access_key_id": "nobody"})
    assert isinstance(error, AccessDenied)
    assert "does not accept the key (InvalidAccessKeyId)" in str(error)


def test_the_key_may_stand_in_the_url_and_is_not_shown(seaweed: SeaweedServer) -> None:
    account = seaweed.options
    url = f"s3://{account['access_key_id']}:{account['secret_access_key']}@{BUCKET}/folder"
    with open_store(url, endpoint=seaweed.endpoint) as store:
        store.atomic_write("a", b"1")
        assert account["secret_access_key"] not in f"{store!r} {store.location}"


def test_a_key_that_is_given_twice_is_refused(seaweed: SeaweedServer) -> None:
    error = _refused(f"s3://{BUCKET}", **seaweed.options, password="other-Secret-2")
    assert "secret_access_key is given twice" in str(error)
    assert "other-Secret-2" not in str(error)


def test_an_account_that_may_read_reads_and_is_denied_to_write(seaweed: SeaweedServer) -> None:
    folder = seaweed.folder()
    with open_store(folder, **seaweed.options) as writer, open_store(folder, **seaweed.reader) as reader:
        writer.atomic_write("a", b"1")
        assert reader.read_snapshot("a").data == b"1"
        assert reader.list_keys() == ["a"]
        with pytest.raises(AccessDenied, match="the server refuses it"):
            reader.atomic_write("a", b"2")


def test_a_missing_bucket_is_a_wrong_location(seaweed: SeaweedServer) -> None:
    assert "there is no such bucket" in str(_refused("s3://nowhere", **seaweed.options))
    error = _refused("s3://nowhere", **seaweed.options)
    assert isinstance(error, LocationError)


def test_a_server_that_is_away_is_unavailable(seaweed: SeaweedServer) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets this port meanwhile
        bound.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{bound.getsockname()[1]}"
        error = _refused(f"s3://{BUCKET}", **seaweed.options | {"endpoint": endpoint}, retry=None)
    assert isinstance(error, BackendUnavailable)
    assert "the server refuses the connection" in str(error)


def test_a_server_that_nobody_knows_is_unavailable(seaweed: SeaweedServer) -> None:
    error = _refused(f"s3://{BUCKET}", **seaweed.options | {"endpoint": "http://nowhere.invalid"}, retry=None)
    assert isinstance(error, BackendUnavailable)
    assert "the server's name is not known" in str(error)


def test_a_server_that_says_nothing_is_unavailable_in_time() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        account = {"access_key_id": "a", "secret_access_key": "b-Secret-3"}
        error = _refused(f"s3://{BUCKET}", endpoint=endpoint, timeout=1.5, retry=None, **account)
    assert isinstance(error, BackendUnavailable)
    assert "does not answer in time" in str(error)


def _certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate that no authority has signed, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate, secret = directory / "certificate.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_certificate(tmp_path))
    with running_stand_in(tls=context) as server:
        options = server.options | {"endpoint": f"https://127.0.0.1:{server.port}"}
        error = _refused(server.url, **options, retry=None)
    assert isinstance(error, BackendUnavailable)
    assert "certificate is not trusted" in str(error)
    assert "SSL_CERT_FILE" in str(error)
    assert server.seen == []


def test_https_on_a_port_of_http_says_so(server: StandIn) -> None:
    error = _refused(server.url, **server.options | {"endpoint": f"https://127.0.0.1:{server.port}"}, retry=None)
    assert "does not speak TLS" in str(error)


def test_without_any_key_the_store_says_what_to_give(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    # The place where a machine of Amazon's gives keys, and this server has none.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{server.port}")
    error = _refused(server.url, endpoint=f"http://127.0.0.1:{server.port}", timeout=3.0, retry=None)
    assert isinstance(error, AccessDenied)
    assert "there is no key" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        (507, "InsufficientStorage", StorageFull, "the storage is full"),
        (403, "QuotaExceeded", StorageFull, "quota is used up"),
        (403, "AccessDenied", AccessDenied, "the server refuses it (AccessDenied)"),
        (403, "RequestTimeTooSkewed", AccessDenied, "the clock of this machine is wrong"),
        (400, "ExpiredToken", AccessDenied, "the key has ended"),
        (404, "NoSuchBucket", LocationError, "there is no such bucket"),
        (301, "PermanentRedirect", LocationError, "in another region"),
        (400, "KeyTooLongError", InvalidKey, "too long for S3"),
        (503, "SlowDown", BackendUnavailable, "the server answers 503 SlowDown"),
        (501, "NotImplemented", NotSupported, "does not know this request"),
        (500, "InternalError", WriteOutcomeUnknown, "the server answered 500"),
        (502, "", WriteOutcomeUnknown, "the server answered 502"),
    ],
)
def test_a_write_that_the_server_refuses_says_why(
    server: StandIn, status: int, code: str, kind: type[StoreError], text: str
) -> None:
    with open_store(server.url, **server.options, retry=None) as store:
        store.atomic_write("a", b"1")
        server.answer = lambda method, _: (status, code) if method == "PUT" else None
        with pytest.raises(StoreError) as caught:
            store.atomic_write("a", b"2")
        assert type(caught.value) is kind
        assert text in str(caught.value)
        assert store.read_snapshot("a").data == b"1"
        server.answer = lambda _method, _name: None
        store.atomic_write("a", b"2")


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("s3:///folder", {}, "names a bucket"),
        ("s3://lab:9000/folder", {}, "no port"),
        ("s3://lab/../other", {}, "'..'"),
        ("s3://lab", {"colour": "blue"}, "colour"),
        ("s3://lab", {"endpoint": "minio:9000"}, "`endpoint` must be a URL"),
        ("s3://lab", {"endpoint": "http://me:secret@minio"}, "no user"),
        ("s3://lab", {"lease": 0.1}, "`lease` must be from 1"),
        ("s3://lab", {"timeout": 0}, "`timeout` must be from"),
        ("s3://lab", {"access_key_id": "a"}, "go together"),
        ("s3://lab", {"profile": "nobody"}, "no profile 'nobody'"),
    ],
)
def test_a_location_that_makes_no_sense_is_refused(url: str, options: dict[str, Any], text: str) -> None:
    error = _refused(url, **options)
    assert isinstance(error, LocationError)
    assert text in str(error)


def test_a_key_of_1024_bytes_and_a_folder_before_it_are_too_long_together(seaweed: SeaweedServer) -> None:
    with open_store(seaweed.folder(), **seaweed.options) as store, pytest.raises(InvalidKey, match="too long for S3"):
        store.atomic_write("/".join(c * 204 for c in "abcde"), b"1")


def test_a_forked_child_says_that_it_cannot_use_s3(server: StandIn) -> None:
    program = f"""
        import os
        from exlab_store import NotSupported, open_store
        options = {server.options!r}
        open_store("s3://{BUCKET}", **options).close()
        child = os.fork()
        if not child:
            try:
                open_store("s3://{BUCKET}", **options)
            except NotSupported as error:
                print("refused:", error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "refused:" in result.stdout, result.stderr
    assert "forked" in result.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("needs_root")
def test_a_full_disk_of_the_server_loses_nothing_and_writes_go_on_when_there_is_room(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", tmp_path], check=True)
    try:
        with running_seaweed(tmp_path) as server, open_store(server.folder(), retry=None, **server.options) as store:
            written: dict[str, bytes] = {}
            refusal: StoreError | None = None
            while refusal is None and len(written) < 64:
                key, data = f"{len(written)}", os.urandom(2 << 20)
                try:
                    store.atomic_write(key, data)
                except StoreError as error:
                    refusal = error
                else:
                    written[key] = data
            assert isinstance(refusal, (StorageFull, WriteOutcomeUnknown))  # SeaweedFS answers 500, and says no more
            assert {key: store.read_snapshot(key).data for key in written} == written
            assert set(store.list_keys()) == set(written)
            store.atomic_write("small", b"1")
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_document_is_not_made_where_a_folder_has_its_name(seaweed: SeaweedServer) -> None:
    with open_store(seaweed.folder(), **seaweed.options) as store:
        store.atomic_write("folder/a", b"1")
        with pytest.raises(InvalidKey, match="names a folder"):
            store.atomic_write("folder", b"2", expect=ABSENT)
        with pytest.raises(InvalidKey, match="names a folder"):
            store.update("folder", lambda _: b"2")
        assert store.list_keys() == ["folder/a"]


def test_a_write_without_an_answer_is_of_unknown_outcome_for_who_may_not_read(server: StandIn) -> None:
    with open_store(server.url, **server.options, retry=None) as store:
        server.answer = lambda method, _: (500, "InternalError") if method == "PUT" else (403, "AccessDenied")
        with pytest.raises(WriteOutcomeUnknown):
            store.atomic_write("a", b"1")


def test_a_conditional_write_that_a_proxy_sends_twice_has_happened_once(server: StandIn) -> None:
    with open_store(server.url, **server.options) as store:
        server.repeats = True
        version = store.atomic_write("a", b"1", expect=ABSENT)
        assert store.read_snapshot("a").version == version
        store.update("a", lambda current: (current or b"") + b"+")
        assert store.read_snapshot("a").data == b"1+"


def test_a_write_without_a_condition_is_never_a_conflict(server: StandIn) -> None:
    with open_store(server.url, **server.options, retry=None) as store:
        server.answer = lambda method, _: (409, "OperationAborted") if method == "PUT" else None
        with pytest.raises(BackendUnavailable, match="at this moment"):
            store.atomic_write("a", b"1")


@pytest.mark.parametrize("key", ["HTTP 500", "no space left", "disk full"])
def test_the_key_of_a_document_is_not_taken_for_the_servers_answer(server: StandIn, key: str) -> None:
    with open_store(server.url, **server.options, retry=None) as store:
        server.answer = lambda method, _: (403, "AccessDenied") if method == "PUT" else None
        with pytest.raises(AccessDenied, match="refuses it"):
            store.atomic_write(key, b"1")


@pytest.mark.parametrize("key", ["certificate.json", "security-credentials"])
def test_the_key_of_a_document_is_not_taken_for_the_fault_of_a_connection(key: str) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets this port meanwhile
        bound.bind(("127.0.0.1", 0))
        options = S3Options(
            endpoint=f"http://127.0.0.1:{bound.getsockname()[1]}",
            region="us-east-1",
            access_key_id="a",
            secret_access_key=Secret("b"),
        )
        requests = Requests(client_of(BUCKET, options), options.timeout)
        with pytest.raises(BackendUnavailable, match="the server refuses the connection") as caught:
            requests.get(key)
    assert not caught.value.exhausted


def test_a_deletion_without_an_answer_is_of_unknown_outcome_for_who_may_not_look(server: StandIn) -> None:
    with open_store(server.url, **server.options, retry=None) as store:
        store.atomic_write("a", b"1")

        def answer(method: str, name: str) -> tuple[int, str] | None:
            if method == "DELETE":
                server.objects.pop(name)
                server.answer = lambda _method, _name: (403, "AccessDenied")
                return 500, "InternalError"
            return None

        server.answer = answer
        with pytest.raises(WriteOutcomeUnknown):
            store.delete("a")


def test_a_listing_that_is_out_of_time_says_so_and_is_not_repeated(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(server.url, **server.options) as store:
        store.atomic_write("a", b"1")
        monkeypatch.setattr(OperationDeadline, "has_room", False)
        server.seen.clear()
        with pytest.raises(BackendUnavailable, match="longer than the store's timeout") as caught:
            store.list_keys()
    assert caught.value.exhausted
    assert server.seen == [("GET", "")]


@pytest.mark.parametrize(
    "operation",
    [lambda store: store.delete("b"), lambda store: store.delete_folder("folder"), Store.list_leftovers],
    ids=["delete", "delete_folder", "list_leftovers"],
)
def test_an_operation_of_many_requests_begins_none_when_it_is_out_of_time(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, operation: Callable[[Store], object]
) -> None:
    with open_store(server.url, **server.options) as store:
        store.atomic_write("b", b"1")
        store.lock("folder/a").release()
        answers = iter([operation is not Store.list_leftovers])  # when the first request is begun, or has been answered
        monkeypatch.setattr(OperationDeadline, "has_room", property(lambda _: next(answers, False)))
        server.seen.clear()
        with pytest.raises(BackendUnavailable, match="longer than the store's timeout"):
            operation(store)
    assert len(server.seen) == 1


def test_a_forked_child_is_refused_at_once_and_leaves_the_lock_to_its_parent(seaweed: SeaweedServer) -> None:
    program = f"""
        import os, signal
        from exlab_store import LockLost, NotSupported, open_store
        with open_store({seaweed.folder()!r}, **{seaweed.options!r}) as store, store.lock("a") as held:
            child = os.fork()
            if not child:
                signal.alarm(30)  # it would wait without end
                for call in (
                    lambda: store.read_snapshot("a"),
                    lambda: store.atomic_write("a", b"1"),
                    lambda: store.delete("a"),
                    store.list_keys,
                    lambda: [*store.list_folder()],
                ):
                    try:
                        call()
                    except NotSupported:
                        print("refused", flush=True)
                try:
                    held.ensure_held()
                except LockLost:
                    print("lost", flush=True)
                held.release()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            held.ensure_held()
            print("held", flush=True)
    """
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert result.stdout.split() == ["refused"] * 5 + ["lost", "held"], result.stderr
