"""Evidence that a store keeps what its backend claims: probes from outside, by several clients at the same time.

`examine` does it, ``exlab-store doctor`` prints it, `page.report` makes a page of it.
"""

from __future__ import annotations

from exlab_store.doctor.examination import Examination, Place, examine
from exlab_store.doctor.findings import Finding, Latencies
from exlab_store.doctor.machines.codes import InvalidCode
from exlab_store.doctor.machines.joining import Participation, join
from exlab_store.doctor.verdict import Claim

__all__ = [
    "Claim",
    "Examination",
    "Finding",
    "InvalidCode",
    "Latencies",
    "Participation",
    "Place",
    "examine",
    "join",
]
