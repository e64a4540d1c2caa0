"""First imports of the backends that reach a server: none in the main thread once a store is open.

A signal handler's exception that strikes one may leave it locked for ever (see `exlab_store.first_imports`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from noted_imports import late_imports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from postgresql_server import PostgresqlServer
    from samba_server import SambaServer

    Place: TypeAlias = tuple[str, dict[str, Any]]

pytestmark = pytest.mark.one_interpreter


@pytest.fixture
def smb(samba: SambaServer) -> Place:
    return samba.url(user=False), {**samba.options}


@pytest.fixture
def sftp() -> Iterator[Place]:
    pytest.importorskip("asyncssh")
    from ssh_server import new_folder, running_sshd

    with running_sshd() as server:
        yield server.url(new_folder(server).name), {**server.options}


@pytest.fixture
def s3() -> Iterator[Place]:
    pytest.importorskip("obstore")
    from s3_stand_in import running_stand_in

    with running_stand_in() as server:
        yield server.url, {**server.options}


@pytest.fixture
def database(postgresql: PostgresqlServer) -> Place:
    return postgresql.url(), {**postgresql.options(), "create": True}


@pytest.mark.parametrize("place", ["smb", "sftp", "s3", "database"])
def test_what_an_operation_over_a_network_imports_is_imported_whole(place: str, request: pytest.FixtureRequest) -> None:
    location, options = request.getfixturevalue(place)
    assert late_imports(location, **options) == []
