"""The other side of `process`: it opens the store on its own, does what it is told over a pipe, and answers.

Requests and answers are pickles: both ends are this package. The location and the options, with whatever password they
have, travel the same way, as arguments and environments are visible to others on a machine.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from exlab_store.errors import StoreError

if TYPE_CHECKING:
    from exlab_store.clients.requests import StoreRequests

__all__ = ["serve"]

_LAST_WORDS = 5.0
_REPORT = "Report it to the backend's author."


def serve(requests: type[StoreRequests]) -> None:
    """Does what standard input says until it ends; nothing is opened before it says so.

    The module is not run as a program, so that its types have names.

    Args:
        requests: The class whose methods are the requests.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    session = requests()
    told: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(told, session.over), daemon=True).start()
    while (request := told.get()) is not None:
        answers.write(pickle.dumps(_answer(session, *request)))
        try:
            answers.flush()
        except OSError:  # nobody listens any more: EPIPE, and EINVAL on Windows
            break
    session.close()


def _listen(told: queue.SimpleQueue[tuple[str, dict[str, Any]] | None], over: threading.Event) -> None:
    # A stream of its own: sys.stdin would get in the way when the process ends while this thread waits for it.
    stream = os.fdopen(os.dup(0), "rb")
    try:
        while True:
            told.put(pickle.load(stream))  # noqa: S301  # from the process that started this one
    except (EOFError, OSError, pickle.UnpicklingError):
        pass  # it has ended, perhaps in the middle of a request
    told.put(None)
    over.set()
    # Where the storage hangs, nobody would ever look at the event.
    time.sleep(_LAST_WORDS)
    os._exit(1)


def _answer(session: StoreRequests, name: str, arguments: dict[str, Any]) -> tuple[bool, object]:
    try:
        return True, getattr(session, name)(**arguments)
    except StoreError as error:
        return False, error
    except Exception as error:  # a backend's own, past the store; its text may show what it was given
        traceback.print_exc()
        return False, StoreError(f"`{name}` raised {type(error).__name__}", hint=_REPORT)
