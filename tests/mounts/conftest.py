"""How the tests of this folder come into the guest, and what they find there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from conftest import lacking

from mounts.guest_kernel import HERE, what_is_lacking
from mounts.guest_tests import INSIDE, GuestTests, choose, send
from mounts.machines import KINDS, Site, new_site

if TYPE_CHECKING:
    from collections.abc import Iterator

_GUEST_TESTS: Final = pytest.StashKey[GuestTests]()


def _is_ours(item: pytest.Item) -> bool:
    return HERE in item.path.parents and HERE / "outside" not in item.path.parents


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if INSIDE:
        config.hook.pytest_deselected(items=choose(items))


def pytest_collection_finish(session: pytest.Session) -> None:
    if not INSIDE:
        session.config.stash[_GUEST_TESTS] = GuestTests([item for item in session.items if _is_ours(item)])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Outside, waits for the guest's reports instead of running the test."""
    if INSIDE or not _is_ours(item):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)

    def follow() -> None:
        if lack := what_is_lacking():
            lacking(lack)
        for report in item.config.stash[_GUEST_TESTS].reports(item):
            item.ihook.pytest_runtest_logreport(report=report)

    call = pytest.CallInfo.from_call(follow, "call", (KeyboardInterrupt, pytest.exit.Exception))
    if call.excinfo is not None:
        item.ihook.pytest_runtest_logreport(report=item.ihook.pytest_runtest_makereport(item=item, call=call))
    # The test before has left this folder's fixtures to this one, which never sets any up.
    item.session._setupstate.teardown_exact(nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if INSIDE:
        send(report, item.config)
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    if tests := config.stash.get(_GUEST_TESTS, None):
        tests.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of mount in turn; a test about some of them parametrizes ``kind`` itself."""
    return str(request.param)


@pytest.fixture
def site(kind: str) -> Site:
    """A new folder of the server, which clients a and b have mounted and client c reaches as ``smb:``."""
    return new_site(kind)
