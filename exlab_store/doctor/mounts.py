"""For a place with a path: the file system that holds it, and mount options that take a promise away."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

import msgspec

from exlab_store.doctor.findings import ProbeResult, not_applicable, passed, warned

if TYPE_CHECKING:
    from exlab_store.doctor.findings import Seen
    from exlab_store.doctor.visit import Visit

__all__ = ["Mount", "judged", "mount", "mount_of"]

_OCTAL = re.compile(r"\\([0-7]{3})")
_MOUNTED_SHARES = frozenset({"cifs", "smb3", "smbfs"})

# Option, or its beginning up to "=": what it does.
_OPTIONS = {
    "nobrl": "locks stay on this host: other machines are not excluded",
    "nolock": "locks stay on this host: other machines are not excluded",
    "local_lock=all": "locks stay on this host: other machines are not excluded",
    "local_lock=flock": "locks stay on this host: other machines are not excluded",
    "local_lock=posix": "locks stay on this host: other machines are not excluded",
    "forcemandatorylock": "a lock that is held keeps others from reading the file",
    "nocto": "reads may be older than what others have written",
    "cache=loose": "other programs may read what is older than what others have written",
    "nobarrier": "a power cut can take back what was acknowledged",
    "barrier=0": "a power cut can take back what was acknowledged",
    "soft": "a server that is slow makes operations fail with an unknown outcome",
}


class Mount(msgspec.Struct, frozen=True):
    """What a directory is on.

    Attributes:
        kind: The file system's type.
        point: Where it is mounted.
        options: Its options, and those of its superblock.
    """

    kind: str
    point: str
    options: tuple[str, ...]


def mount(visit: Visit) -> ProbeResult:
    """Looks the place up among this machine's mounts.

    Args:
        visit: The clients.
    """
    if visit.bypass(0) is not None or visit.directory is None:
        return not_applicable("the place has no path on this machine")
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            found = mount_of(visit.directory, file.read())
    except OSError:
        return not_applicable("this system does not list its mounts in /proc")
    return judged(found, platform.release())


def mount_of(path: str, mountinfo: str) -> Mount | None:
    """The mount that holds a path; of several at one point the last, which hides the others.

    Args:
        path: Absolute, without links.
        mountinfo: What ``/proc/self/mountinfo`` says, as in proc(5).
    """
    best: Mount | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, of_super = before.split(" "), after.split(" ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), words[4])
        if (path.rstrip("/") + "/").startswith(point.rstrip("/") + "/") and (
            best is None or len(point) >= len(best.point)
        ):
            best = Mount(of_super[0], point, tuple(dict.fromkeys([*words[5].split(","), *of_super[2].split(",")])))
    return best


def judged(found: Mount | None, kernel: str) -> ProbeResult:
    """What a mount means for the promises of a store.

    Args:
        found: The mount.
        kernel: The kernel's release, as ``uname -r`` has it.
    """
    if found is None:
        return not_applicable("no mount of this machine holds the place")
    text = f"the file system is {found.kind}, mounted at {found.point}; the kernel is {kernel}"
    flaws = {name: effect for name, effect in _OPTIONS.items() if name in found.options}
    version = tuple(int(part) for part in re.findall(r"\d+", kernel)[:2])
    if found.kind in _MOUNTED_SHARES and version < (5, 19):
        flaws["this kernel"] = "before 5.19, a lock on a cifs mount excluded nobody on other machines"
    if not flaws:
        return passed(text)
    doubtful: dict[str, Seen] = {"durable": "doubtful"} if {"nobarrier", "barrier=0"} & set(flaws) else {}
    return warned(
        f"{text}: {'; '.join(f'{name}: {effect}' for name, effect in flaws.items())}",
        f"Mount it again without {', '.join(sorted(flaws))}."
        if "this kernel" not in flaws
        else "Use a newer kernel, or `smb:` instead of the mount.",
        **doubtful,
    )
