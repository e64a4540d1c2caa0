"""The doctor's clients: each opens the store in a process of its own."""

from __future__ import annotations

import os

from exlab_store.clients.process import ClientProcess
from exlab_store.doctor.requests import DoctorRequests
from exlab_store.hidden_location import hides_location

__all__ = ["start_client"]

_START = 20.0


@hides_location
def start_client(location: str | os.PathLike[str], config: str | None, patience: float) -> ClientProcess:
    """Starts a client; all of them believe to be one process, as those of two hosts or containers may.

    Args:
        location: What it opens.
        config: The configuration's file for ``@name``, or None.
        patience: Seconds that an answer may take.
    """
    return ClientProcess(DoctorRequests, patience, start=_START).open(location, config=config, pid=os.getpid())
