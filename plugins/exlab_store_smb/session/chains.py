"""Compounds of several chains: requests on one file, and behind them, begun anew, requests on another.

Only so can a compound come back to a file that is open already, as a lock file is: within one chain a request works on
the file of the CREATE before it, whatever it names. Samba carries out the chains in order. The protocol lets a server
refuse all of such a compound with INVALID_PARAMETER, and promises no order of chains [MS-SMB2 3.2.4.1.4, 3.3.5.2.7].
So the order is shown before anything depends on it: a chain that looks sees what the chain before it has written.

(A second CREATE in one chain is no way out while the first file is open: smbd 4.17 dies of it, an assertion on
``op->request_count``.)
"""

from __future__ import annotations

import time

__all__ = ["Chains"]

_APART = 60.0  # seconds


class Chains:
    """The answers of a server to compounds of several chains, and their use.

    Attributes:
        refused: The server does not take them.
        in_order: The server carries the chains out in order; None until that was tried.
    """

    def __init__(self) -> None:
        self.refused = False
        self.in_order: bool | None = None
        self._apart_until = 0.0

    @property
    def may_release(self) -> bool:
        """Whether a lock may be released in the compound that writes under it."""
        return self.in_order is True and time.monotonic() >= self._apart_until

    def keep_apart(self) -> None:
        """Has locks released on their own for a while: a write was refused, and its lock was gone all the same.

        A server that refuses to replace a document that somebody has open does so again and again.
        """
        self._apart_until = time.monotonic() + _APART
