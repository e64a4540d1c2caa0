"""The probe for permissions: can other accounts use the documents that this one writes?"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from exlab_store.doctor.findings import ProbeResult, not_applicable, passed, warned

if TYPE_CHECKING:
    from exlab_store.doctor.visit import Visit

__all__ = ["permissions"]


def permissions(visit: Visit) -> ProbeResult:
    """Looks at the mode of a new document, where the place has a path on a system that has modes.

    Args:
        visit: The clients.
    """
    if visit.bypass(0) is not None or visit.directory is None or os.name != "posix":
        return not_applicable("the permissions of files cannot be seen from here; try it with another account")
    key = visit.key("permissions.json")
    visit.first.ask("write", key=key, data=b"1")
    mode, folder = visit.first.ask("modes", key=key)
    observed = f"a new document has the permissions {stat.filemode(mode)}, in a folder with {stat.filemode(folder)}"
    if folder & stat.S_ISVTX and folder & (stat.S_IWGRP | stat.S_IWOTH):
        return warned(
            f"{observed}: its sticky bit keeps accounts from replacing each other's documents",
            "Take the sticky bit away: `chmod -t`.",
        )
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return warned(
            f"{observed}: no other account can read it",
            "Nothing is wrong where one account does everything. Otherwise set the umask of the programs, or the "
            "masks of the server, to `0002` or `0022`.",
        )
    return passed(observed)
