"""The tools for test writers and backend authors: the conformance kit, faults, histories, crashes.

Installed with the extra ``test``. Each part is a module of its own and imports only what it needs::

    from exlab_store.testing import BackendConformance, Harness
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exlab_store.testing.conformance.harness import Harness
    from exlab_store.testing.conformance.suite import BackendConformance

__all__ = ["BackendConformance", "Harness"]


def __getattr__(name: str) -> object:
    # pytest and Hypothesis take a third of a second to import, and histories and faults do without.
    if name == "Harness":
        from exlab_store.testing.conformance.harness import Harness

        return Harness
    if name == "BackendConformance":
        import sys

        import pytest

        # So that a failing assertion of the kit shows its values, as the ones of a test module do. Who has imported a
        # part of it before goes without: pytest warns then, and a warning may be an error.
        if "exlab_store.testing.conformance" not in sys.modules:
            pytest.register_assert_rewrite("exlab_store.testing.conformance")
        from exlab_store.testing.conformance.suite import BackendConformance

        return BackendConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
