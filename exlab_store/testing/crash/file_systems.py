"""The file systems that are tested: how each is made, and how each is mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exlab_store.testing.crash.mounting import run
from exlab_store.testing.crash.requirements import CannotTest, require_program

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BTRFS", "EXT2", "EXT4", "XFS", "FileSystemKind"]


class FileSystemKind(NamedTuple):
    """A kind of file system.

    Attributes:
        name: As in /proc/filesystems.
        size: Bytes of an image: about the least its maker accepts.
        make: The program that makes one, with its options.
        package: What to install where that program is missing.
        options: How it is mounted.
    """

    name: str
    size: int
    make: tuple[str, ...]
    package: str
    options: str = ""

    def create(self, image: Path) -> None:
        """Makes an empty file system.

        Args:
            image: The file to make; whatever was there is lost.

        Raises:
            CannotTest: The program is missing, or the kernel does not know the file system.
        """
        with open("/proc/filesystems", encoding="utf-8") as file:
            if self.name not in file.read().split():
                try:
                    run("modprobe", self.name)
                except CannotTest as error:
                    raise CannotTest(f"use a kernel with {self.name}: this one has none") from error
        maker = require_program(self.make[0], self.package)
        with open(image, "wb") as file:
            file.truncate(self.size)
        run(maker, *self.make[1:], image)


# Nothing is left for the kernel to initialise later: the log would be full of it.
EXT4 = FileSystemKind(
    "ext4",
    32 << 20,
    ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "e2fsprogs",
)
XFS = FileSystemKind("xfs", 320 << 20, ("mkfs.xfs", "-q", "-f"), "xfsprogs", "nouuid")
BTRFS = FileSystemKind("btrfs", 120 << 20, ("mkfs.btrfs", "-q", "-f"), "btrfs-progs")
EXT2 = FileSystemKind("ext2", 32 << 20, ("mkfs.ext2", "-q", "-F"), "e2fsprogs")
"""Without a journal: what is not asked for with fsync is not brought along by something else either."""
