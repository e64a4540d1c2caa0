"""The name of a machine, and the check that two machines are not one."""

from __future__ import annotations

import hashlib
import hmac
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exlab_store.doctor.machines.codes import Code

__all__ = ["kernel", "machine", "shown"]

_BOOT = "/proc/sys/kernel/random/boot_id"


def machine() -> str:
    """This machine's name: that by which the holder of a lock is known."""
    return shown(platform.node())[:255] or "unknown"


def kernel(code: Code) -> str:
    """A text that is the same on two sides that run on one kernel, and tells nobody else anything; or empty text.

    Args:
        code: The examination's.
    """
    try:
        with open(_BOOT, "rb") as file:
            return hmac.new(code.key, file.read(64), hashlib.sha256).hexdigest()[:16]
    except OSError:
        return ""


def shown(text: str) -> str:
    """A text of the other machine, so that it cannot drive a terminal.

    Args:
        text: Anything.
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
