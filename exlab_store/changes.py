"""The values of a watch: the changes that it tells, and the source of changes that a backend may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from exlab_store.model import Version  # noqa: TC001  # of a field: msgspec looks it up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Change", "ChangeSource"]


class Change(msgspec.Struct, frozen=True):
    """A document that is stored otherwise than it was.

    Attributes:
        key: The document's key.
        kind: ``written`` for a document that is there, ``deleted`` for one that is gone.
        version: Of the document as it was read; None for a deletion, and for a document that this account may list and
            not read.
    """

    key: str
    kind: Literal["written", "deleted"]
    version: Version | None = None


class ChangeSource(Protocol):
    """What the hook ``watch_changes`` returns: it tells where something may have changed. One thread uses it at a time.

    The core looks at each name that it tells, and reports only what differs. So a name too many costs a read, and a
    name that is missing is a change that nobody sees.
    """

    @property
    def complete(self) -> bool:
        """Whether it hears of every change, whoever makes it; where it may not, the core also looks by itself at times.

        The core asks after each `wait`.
        """
        ...

    def wait(self, timeout: float, cancelled: Callable[[], bool]) -> Iterable[str]:
        """Waits until something may have changed since the hook was called, or since the last call returned.

        Args:
            timeout: Seconds to wait at most.
            cancelled: Asked at least every 50 ms; True ends the wait.

        Returns:
            Keys of documents, and with a slash at the end, keys of folders below which anything may have changed; empty
            text for the whole store: look at everything again. Nothing when the wait has ended without. A document that
            is named can be read as it is now. No names of lock files and temporary files, and nothing that
            ``location.ignores``.

        Raises:
            BackendUnavailable: Changes may be missed from now on. The core closes this source, calls the hook again,
                and looks at everything.
            NotSupported: The storage cannot tell any more, as when it has room for no more folders: the core looks by
                itself from now on.
        """
        ...

    def close(self) -> None:
        """Gives back what it holds. A second call does nothing."""
        ...
