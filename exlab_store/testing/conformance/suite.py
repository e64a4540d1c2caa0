"""The conformance kit as one class to subclass."""

from __future__ import annotations

from exlab_store.testing.conformance.changes import Watching
from exlab_store.testing.conformance.combined import Combined
from exlab_store.testing.conformance.concurrency import Histories, Torn
from exlab_store.testing.conformance.deleting_folders import DeletingFolders
from exlab_store.testing.conformance.durability import Durability
from exlab_store.testing.conformance.errors import Errors
from exlab_store.testing.conformance.expectations import ExpectationRaces, Expectations
from exlab_store.testing.conformance.fencing import Fencing
from exlab_store.testing.conformance.freshness import Freshness
from exlab_store.testing.conformance.keys import Folders, Keys
from exlab_store.testing.conformance.leftovers import Leftovers
from exlab_store.testing.conformance.listing import Deleting, Listing
from exlab_store.testing.conformance.locks import Exclusion, ProcessLocks, Waiting
from exlab_store.testing.conformance.looking import Looking
from exlab_store.testing.conformance.registration import Registration, Unclaimed
from exlab_store.testing.conformance.round_trips import RoundTrips, Versions
from exlab_store.testing.conformance.secrets import Secrets
from exlab_store.testing.conformance.stateful import Sequences
from exlab_store.testing.conformance.upkeep import Upkeep

__all__ = ["BackendConformance"]


class BackendConformance(
    Registration,
    Unclaimed,
    RoundTrips,
    Versions,
    Freshness,
    Keys,
    Folders,
    Expectations,
    ExpectationRaces,
    Listing,
    Looking,
    Deleting,
    Watching,
    DeletingFolders,
    Exclusion,
    Waiting,
    ProcessLocks,
    Fencing,
    Combined,
    Torn,
    Histories,
    Errors,
    Secrets,
    Leftovers,
    Upkeep,
    Durability,
    Sequences,
):
    """Whether a backend keeps each promise that it makes.

    What the backend's guarantees claim must work; what they do not claim must raise `NotSupported`. Subclass it and
    give it a fixture ``harness``::

        class MyHarness(Harness):
            def __init__(self, directory: Path) -> None:
                self.location = f"my://{directory}"
                self._directory = directory

            def open(self) -> Backend:
                return MyBackend(self._directory)


        class TestMyBackend(BackendConformance):
            @pytest.fixture
            def harness(self, tmp_path: Path) -> MyHarness:
                return MyHarness(tmp_path)

    The fixture is asked for once a test and returns a fresh, empty place each time.
    """
