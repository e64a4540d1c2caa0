"""What the clients of a PostgreSQL server saw has an order, also while an administrator ends their sessions."""

from __future__ import annotations

import random
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from histories import PROCESSES

from exlab_store import open_store
from exlab_store.clients.process import ClientProcess
from exlab_store.testing.conformance.clients import KitRequests
from exlab_store.testing.history import check

if TYPE_CHECKING:
    from postgresql_server import PostgresqlServer

pytestmark = pytest.mark.one_interpreter

KEY = "folder/a.json"


@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.slow)])
def test_the_operations_of_six_processes_have_an_order_while_sessions_are_ended(
    postgresql: PostgresqlServer, count: int
) -> None:
    options = postgresql.options()
    with open_store(postgresql.url(), create=True, **options) as store:
        store.atomic_write(KEY, b"first")
        store.delete(KEY)
    stop, ended = threading.Event(), [0]

    def end_sessions() -> None:
        pause, chance = 0.3, random.Random(4711)
        while not stop.wait(pause * chance.uniform(0.5, 1.5)):
            ended[0] += postgresql.end_clients(only="pid % 6 = extract(second from clock_timestamp())::int % 6")

    with ExitStack() as running:
        clients = [
            running.enter_context(ClientProcess(KitRequests, 600.0).open(postgresql.url(), options))
            for _ in range(PROCESSES)
        ]
        for name, client in enumerate(clients):
            times = count // PROCESSES // 2 + 1  # each change is a reading and a change
            client.send("operate", key=KEY, client=str(name), times=times, swaps=True, updates=True)
        administrator = threading.Thread(target=end_sessions)
        administrator.start()
        try:
            operations = [operation for client in clients for operation in client.answer()]
        finally:
            stop.set()
            administrator.join()
    unknown = sum(each.returned is None for each in operations)
    print(f"{len(operations)} operations, {ended[0]} sessions ended, {unknown} with an unknown outcome")
    assert len(operations) >= count
    assert check(operations) is None
