"""The signature of a large message: smbprotocol's, without its copies."""

from __future__ import annotations

import tracemalloc
import uuid

import pytest
from exlab_store_smb.wire.connection import SmbConnection
from smbprotocol.connection import Connection, Dialects, SigningAlgorithms

KEY = bytes(range(16))
LARGE = bytes(range(256)) * 4096


class Session:
    """What of a session a signature depends on."""

    signing_key = KEY


@pytest.fixture(
    params=[
        (Dialects.SMB_2_1_0, None),
        (Dialects.SMB_3_0_0, None),
        (Dialects.SMB_3_1_1, None),
        (Dialects.SMB_3_1_1, SigningAlgorithms.HMAC_SHA256),
        (Dialects.SMB_3_1_1, SigningAlgorithms.AES_CMAC),
        (Dialects.SMB_3_1_1, SigningAlgorithms.AES_GMAC),
    ],
    ids=str,
)
def connection(request: pytest.FixtureRequest) -> SmbConnection:
    found = SmbConnection(uuid.uuid4(), "nas", 445, require_signing=True, timeout=1)
    found.dialect, found.signing_algorithm_id = request.param
    return found


@pytest.mark.parametrize("from_server", [False, True])
def test_the_signature_is_the_one_that_smbprotocol_computes(connection: SmbConnection, from_server: bool) -> None:
    wanted = Connection._generate_signature(connection, LARGE, KEY, 77, from_server, 8)
    assert connection.keys._signature(Session, LARGE, 77, 8, response=from_server) == wanted


def test_the_message_is_not_copied(connection: SmbConnection) -> None:
    connection.keys._signature(Session, LARGE, 77, 8, response=True)
    tracemalloc.start()
    try:
        connection.keys._signature(Session, LARGE, 77, 8, response=True)
        assert tracemalloc.get_traced_memory()[1] < len(LARGE) / 8
    finally:
        tracemalloc.stop()
