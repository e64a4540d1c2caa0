"""The probe that compares the storage's clock with this machine's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from exlab_store.doctor.findings import ProbeResult, not_applicable, passed, warned

if TYPE_CHECKING:
    from exlab_store.doctor.visit import Visit

__all__ = ["clock"]

_TOLERATED = 2.0  # seconds; the times of files on some file systems are no finer
_KERBEROS = 300.0


def clock(visit: Visit) -> ProbeResult:
    """Compares the time of a file that was just written with the moment of writing.

    Args:
        visit: The clients.
    """
    reason = visit.bypass(0)
    if reason is not None:
        return not_applicable(f"the storage's clock cannot be seen from here: {reason}")
    key = visit.key("clock.json")
    before = time.time()
    visit.first.ask("write", key=key, data=b"1")
    after = time.time()
    written: float = visit.first.ask("modified", key=key)
    skew = written - after if written > after else min(0.0, written - before)
    if abs(skew) <= _TOLERATED:
        return passed(f"the storage's clock and this machine's agree within {max(0.1, abs(skew)):.1f} s")
    kerberos = " From five minutes on, Kerberos refuses to sign anybody in." if abs(skew) >= _KERBEROS else ""
    return warned(
        f"the storage's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
        f"Have both follow the same time server (NTP): times in documents and of files do not fit together.{kerberos}",
    )
