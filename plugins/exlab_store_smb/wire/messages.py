"""The requests of this backend, and the fields of their answers [MS-SMB2 2.2].

A message works on the file of the CREATE before it in the same compound, unless it is given a file of its own.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from smbprotocol.file_info import FileInformationClass, InfoType
from smbprotocol.header import Commands
from smbprotocol.open import CreateDisposition, CreateOptions, ImpersonationLevel, LockFlags

from exlab_store_smb.wire.shapes import RELATED, MalformedAnswer, Reply, SmbRequest, variable_part

__all__ = [
    "ABOUT_FILES",
    "ABOUT_FOLDERS",
    "RELATED",
    "MalformedAnswer",
    "Reply",
    "SmbRequest",
    "changed_at",
    "close",
    "create_document",
    "create_lock_probe",
    "create_probe",
    "created_at",
    "file_id_of",
    "flush",
    "is_directory",
    "is_read_only",
    "links_of",
    "lock_byte_0",
    "make_directory",
    "make_lock_file",
    "mark",
    "open_directory",
    "open_directory_to_remove",
    "open_for_deletion",
    "open_for_flush",
    "open_for_rename",
    "open_lock_file",
    "open_lock_file_to_read",
    "open_lock_file_to_remove",
    "open_lock_probe",
    "open_parent",
    "open_to_ask",
    "open_to_delete",
    "open_to_discard",
    "open_to_list",
    "open_to_read",
    "open_to_read_and_delete",
    "output_of",
    "query_directory",
    "query_links",
    "query_room",
    "read",
    "read_bytes",
    "remove",
    "rename",
    "room_of",
    "size_of",
    "unlock_byte_0",
    "watch_folder",
    "write",
    "written_at",
    "written_count",
]

# Access rights [MS-SMB2 2.2.13.1]. READ_ATTRIBUTES and SYNCHRONIZE go with each, as every client asks for them.
_ALWAYS: Final = 0x80 | 0x100000
_READ_DATA: Final = 0x1
_WRITE_DATA: Final = 0x2  # of a directory: to add files; FLUSH is refused without it
_APPEND_DATA: Final = 0x4  # of a directory: to add directories; it serves for FLUSH as well
_WRITE_ATTRIBUTES: Final = 0x100
_DELETE: Final = 0x10000

# Readers and writers leave each other alone: read, write and delete are shared. fsspec and smbclient share nothing.
_SHARE_ALL: Final = 0x7
# Nobody may delete or rename a lock file that somebody has open: it would split the lock.
_SHARE_READ_WRITE: Final = 0x3
_SHARE_NOTHING: Final = 0x0


def _create(path: str, access: int, disposition: int, options: int, share: int = _SHARE_ALL) -> SmbRequest:
    name = path.encode("utf-16-le")
    return SmbRequest(
        Commands.SMB2_CREATE,  # [MS-SMB2 2.2.13]
        struct.pack(
            "<HxxI16xIIIIIHH8x",
            57,
            ImpersonationLevel.Impersonation,
            access | _ALWAYS,
            0,
            share,
            disposition,
            options,
            _NAME_AT,
            len(name),
        )
        + (name or b"\0\0"),
        b"",
    )


# Where the variable part of a request begins, counted from its header.
_NAME_AT: Final = 120
_DATA_AT: Final = 112
_INFORMATION_AT: Final = 96
_PATTERN_AT: Final = 96

_FILE: Final = CreateOptions.FILE_NON_DIRECTORY_FILE
_DIRECTORY: Final = CreateOptions.FILE_DIRECTORY_FILE


def open_to_read(path: str) -> SmbRequest:
    """CREATE for reading a file that exists."""
    return _create(path, _READ_DATA, CreateDisposition.FILE_OPEN, _FILE)


def create_document(path: str, *, marked: bool = False) -> SmbRequest:
    """CREATE of a file that must not exist yet, to be written, flushed and renamed.

    Args:
        path: The file's name on the share.
        marked: It will be given a mark with `mark`.
    """
    access = _WRITE_DATA | _DELETE | (_WRITE_ATTRIBUTES if marked else 0)
    return _create(path, access, CreateDisposition.FILE_CREATE, _FILE)


def create_probe(path: str) -> SmbRequest:
    """CREATE of a file that must not exist yet and goes when it is closed: what time it is where documents are."""
    return _create(path, _DELETE, CreateDisposition.FILE_CREATE, _FILE | CreateOptions.FILE_DELETE_ON_CLOSE)


def open_for_flush(path: str) -> SmbRequest:
    """CREATE for flushing a file that exists."""
    return _create(path, _WRITE_DATA, CreateDisposition.FILE_OPEN, _FILE)


def open_for_rename(path: str) -> SmbRequest:
    """CREATE for renaming a file that exists."""
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, _FILE)


def open_for_deletion(path: str) -> SmbRequest:
    """CREATE that asks for the right to delete, and deletes nothing: tells a refusal from a file in use."""
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, 0)


def open_to_delete(path: str) -> SmbRequest:
    """CREATE of a file that goes when it is closed; refused while anybody has it open.

    With another handle on it, the file would stay until that is closed; then a new file of that name would go.
    """
    options = _FILE | CreateOptions.FILE_DELETE_ON_CLOSE
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, options, _SHARE_NOTHING)


def open_to_discard(path: str) -> SmbRequest:
    """CREATE of a temporary file that goes when it is closed; refused while anybody has it open.

    Otherwise a writer that is still at work would rename a file to the document that is about to go.
    """
    options = _FILE | CreateOptions.FILE_DELETE_ON_CLOSE
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, options, _SHARE_NOTHING)


def open_to_ask(path: str) -> SmbRequest:
    """CREATE of a file or a directory to learn that it is there."""
    return _create(path, 0, CreateDisposition.FILE_OPEN, 0)


def open_to_list(path: str) -> SmbRequest:
    """CREATE of a directory that exists, for listing what is in it."""
    return _create(path, _READ_DATA, CreateDisposition.FILE_OPEN, _DIRECTORY)


def open_directory(path: str) -> SmbRequest:
    """CREATE of a directory that exists, for flushing it after a file in it was made, renamed or deleted."""
    return _create(path, _WRITE_DATA, CreateDisposition.FILE_OPEN, _DIRECTORY)


def open_parent(path: str) -> SmbRequest:
    """CREATE of a directory that exists, for flushing it after a directory in it was made."""
    return _create(path, _APPEND_DATA, CreateDisposition.FILE_OPEN, _DIRECTORY)


def make_directory(path: str) -> SmbRequest:
    """CREATE of a directory, whether it exists or not."""
    return _create(path, 0, CreateDisposition.FILE_OPEN_IF, _DIRECTORY)


def open_lock_file(path: str) -> SmbRequest:
    """CREATE of a lock file, whether it exists or not."""
    return _create(path, _READ_DATA | _WRITE_DATA, CreateDisposition.FILE_OPEN_IF, _FILE, _SHARE_READ_WRITE)


def make_lock_file(path: str) -> SmbRequest:
    """CREATE of a lock file that must not exist yet."""
    return _create(path, _READ_DATA | _WRITE_DATA, CreateDisposition.FILE_CREATE, _FILE, _SHARE_READ_WRITE)


def open_lock_file_to_read(path: str) -> SmbRequest:
    """CREATE of a lock file that exists, for reading its record."""
    return _create(path, _READ_DATA, CreateDisposition.FILE_OPEN, _FILE, _SHARE_READ_WRITE)


def open_lock_file_to_remove(path: str) -> SmbRequest:
    """CREATE of a lock file that exists, to lock and to delete it; refused while anybody else has it open."""
    access = _READ_DATA | _WRITE_DATA | _DELETE
    return _create(path, access, CreateDisposition.FILE_OPEN, _FILE, _SHARE_NOTHING)


def open_directory_to_remove(path: str) -> SmbRequest:
    """CREATE of a directory that exists, for `remove`."""
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, _DIRECTORY)


def open_to_read_and_delete(path: str) -> SmbRequest:
    """CREATE of a file that is read and goes when it is closed."""
    options = _FILE | CreateOptions.FILE_DELETE_ON_CLOSE
    return _create(path, _READ_DATA | _DELETE, CreateDisposition.FILE_OPEN, options)


def create_lock_probe(path: str) -> SmbRequest:
    """CREATE of a file that must not exist yet, to try locks on; the server removes it also if this client dies."""
    access = _READ_DATA | _WRITE_DATA | _DELETE
    return _create(path, access, CreateDisposition.FILE_CREATE, _FILE | CreateOptions.FILE_DELETE_ON_CLOSE)


def open_lock_probe(path: str) -> SmbRequest:
    """CREATE of the same file once more, by another handle."""
    return _create(path, _READ_DATA | _WRITE_DATA, CreateDisposition.FILE_OPEN, _FILE)


def read(offset: int, length: int, file_id: bytes = RELATED) -> SmbRequest:
    """READ [MS-SMB2 2.2.19]; past the end it gives what there is."""
    return SmbRequest(Commands.SMB2_READ, struct.pack("<HxxIQ", 49, length, offset), file_id, bytes(17), length)


def write(offset: int, data: bytes, file_id: bytes = RELATED) -> SmbRequest:
    """WRITE [MS-SMB2 2.2.21]."""
    before = struct.pack("<HHIQ", 49, _DATA_AT, len(data), offset)
    return SmbRequest(Commands.SMB2_WRITE, before, file_id, bytes(16) + data, len(data))


def flush(file_id: bytes = RELATED) -> SmbRequest:
    """FLUSH [MS-SMB2 2.2.17]: fsync on Samba, for a file and for a directory."""
    return SmbRequest(Commands.SMB2_FLUSH, struct.pack("<H6x", 24), file_id)


def close(file_id: bytes = RELATED) -> SmbRequest:
    """CLOSE [MS-SMB2 2.2.15]."""
    return SmbRequest(Commands.SMB2_CLOSE, struct.pack("<H6x", 24), file_id)


def rename(path: str, file_id: bytes = RELATED) -> SmbRequest:
    """SET_INFO FileRenameInformation with ReplaceIfExists [MS-FSCC 2.4.42.2].

    Args:
        path: The new name, below the share whatever the share is: see `Link.within_share`.
        file_id: The file.
    """
    name = path.encode("utf-16-le")
    information = struct.pack("<B7xQI", 1, 0, len(name)) + name
    return _set_information(FileInformationClass.FILE_RENAME_INFORMATION, information, file_id, within_share=True)


def remove(file_id: bytes = RELATED) -> SmbRequest:
    """SET_INFO FileDispositionInformation [MS-FSCC 2.4.11]: it goes when it is closed; not a directory with entries."""
    return _set_information(FileInformationClass.FILE_DISPOSITION_INFORMATION, b"\x01", file_id)


def mark(created: int) -> SmbRequest:
    """SET_INFO FileBasicInformation [MS-FSCC 2.4.7]: the creation time, and nothing else.

    Args:
        created: Units of 100 ns since 1601.
    """
    information = struct.pack("<QQQQII", created, 0, 0, 0, 0, 0)
    return _set_information(FileInformationClass.FILE_BASIC_INFORMATION, information, RELATED)


def _set_information(what: int, information: bytes, file_id: bytes, *, within_share: bool = False) -> SmbRequest:
    # [MS-SMB2 2.2.39]
    before = struct.pack("<HBBIH6x", 33, InfoType.SMB2_0_INFO_FILE, what, len(information), _INFORMATION_AT)
    return SmbRequest(Commands.SMB2_SET_INFO, before, file_id, information, within_share=within_share)


def lock_byte_0(file_id: bytes = RELATED, *, wait: bool) -> SmbRequest:
    """LOCK of byte 0, exclusive: what filelock locks on Windows.

    Args:
        file_id: The lock file.
        wait: Answered when the lock is granted; otherwise at once.
    """
    flags = LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK
    return _lock(flags if wait else flags | LockFlags.SMB2_LOCKFLAG_FAIL_IMMEDIATELY, file_id)


def unlock_byte_0(file_id: bytes = RELATED) -> SmbRequest:
    """LOCK that gives byte 0 back."""
    return _lock(LockFlags.SMB2_LOCKFLAG_UNLOCK, file_id)


def _lock(flags: int, file_id: bytes) -> SmbRequest:
    # [MS-SMB2 2.2.26]: one element, of one byte at offset 0
    return SmbRequest(Commands.SMB2_LOCK, struct.pack("<HH4x", 48, 1), file_id, struct.pack("<QQI4x", 0, 1, flags))


def query_directory(length: int, file_id: bytes = RELATED, names: str = "*") -> SmbRequest:
    """QUERY_DIRECTORY FileFullDirectoryInformation [MS-FSCC 2.4.17]: the next names, as many as fit.

    Args:
        length: How many bytes the answer's data may have.
        file_id: The directory.
        names: Which names, with ``*`` for any part; the server ignores case.
    """
    pattern = names.encode("utf-16-le")
    return SmbRequest(
        Commands.SMB2_QUERY_DIRECTORY,  # [MS-SMB2 2.2.33]
        struct.pack("<HB5x", 33, FileInformationClass.FILE_FULL_DIRECTORY_INFORMATION),
        file_id,
        struct.pack("<HHI", _PATTERN_AT, len(pattern), length) + pattern,
        length,
    )


ABOUT_FILES: Final = 0x1 | 0x8 | 0x10
"""CompletionFilter of `watch_folder`: FILE_NAME, SIZE, LAST_WRITE."""

ABOUT_FOLDERS: Final = 0x2
"""CompletionFilter of `watch_folder`: DIR_NAME."""


def watch_folder(what: int, length: int, file_id: bytes) -> SmbRequest:
    """CHANGE_NOTIFY [MS-SMB2 2.2.35] of a directory and all below it; answered when something has happened.

    Args:
        what: `ABOUT_FILES` or `ABOUT_FOLDERS`; it holds for the handle from its first request on.
        length: How many bytes of names the answer may have; where more has happened, it says NOTIFY_ENUM_DIR.
        file_id: The directory.
    """
    before = struct.pack("<HHI", 32, 1, length)
    return SmbRequest(Commands.SMB2_CHANGE_NOTIFY, before, file_id, struct.pack("<II", what, 0), length)


def query_room() -> SmbRequest:
    """QUERY_INFO FileFsFullSizeInformation [MS-FSCC 2.5.4]: what is free, to this user."""
    return _query_information(InfoType.SMB2_0_INFO_FILESYSTEM, 7, 32, 32)


def query_links(file_id: bytes = RELATED) -> SmbRequest:
    """QUERY_INFO FileStandardInformation [MS-FSCC 2.4.47]: whether a file that is open still has a name."""
    # Two reserved bytes at its end, which not every server sends.
    information = FileInformationClass.FILE_STANDARD_INFORMATION
    return _query_information(InfoType.SMB2_0_INFO_FILE, information, 22, 24, file_id)


def _query_information(kind: int, what: int, least: int, most: int, file_id: bytes = RELATED) -> SmbRequest:
    # [MS-SMB2 2.2.37]
    before = struct.pack("<HBBI16x", 41, kind, what, most)
    return SmbRequest(Commands.SMB2_QUERY_INFO, before, file_id, payload=most, least=least)


# What is read out of answers to requests that succeeded. `shapes.ensure_well_formed` has seen each of them before; for
# any other, these raise `MalformedAnswer` and nothing else.


def file_id_of(created: Reply) -> bytes:
    """The FileId in the answer to a CREATE [MS-SMB2 2.2.14]."""
    return bytes(_fixed("<64x16s", created)[0])


def size_of(created: Reply) -> int:
    """The EndofFile in the answer to a CREATE [MS-SMB2 2.2.14]."""
    return int(_fixed("<48xQ", created)[0])


def created_at(created: Reply) -> int:
    """The CreationTime in the answer to a CREATE [MS-SMB2 2.2.14], in units of 100 ns since 1601."""
    return int(_fixed("<8xQ", created)[0])


def changed_at(created: Reply) -> int:
    """The later of LastWriteTime and ChangeTime in the answer to a CREATE [MS-SMB2 2.2.14], in units of 100 ns."""
    return int(max(_fixed("<24xQQ", created)))


def written_at(created: Reply) -> int:
    """The LastWriteTime in the answer to a CREATE [MS-SMB2 2.2.14], in units of 100 ns since 1601."""
    return int(_fixed("<24xQ", created)[0])


def is_directory(created: Reply) -> bool:
    """Whether the answer to a CREATE is about a directory [MS-SMB2 2.2.14 FileAttributes]."""
    return bool(_fixed("<56xI", created)[0] & 0x10)


def is_read_only(created: Reply) -> bool:
    """Whether the answer to a CREATE is about a file that is marked so [MS-SMB2 2.2.14 FileAttributes]."""
    return bool(_fixed("<56xI", created)[0] & 0x1)


def links_of(answered: Reply) -> int:
    """The number of names that a file has, from the answer to `query_links`; one that is to go has none."""
    links, going = _fixed("<16xI?", Reply(0, output_of(answered)))
    return 0 if going else int(links)


def read_bytes(answered: Reply) -> bytes:
    """The data in the answer to a READ [MS-SMB2 2.2.20]."""
    offset, length = _fixed("<xxBxI", answered)
    return variable_part(answered.body, offset, length, 16)


def output_of(answered: Reply) -> bytes:
    """The data in the answer to a QUERY_DIRECTORY, a QUERY_INFO or a CHANGE_NOTIFY [MS-SMB2 2.2.34, 2.2.38, 2.2.36]."""
    offset, length = _fixed("<xxHI", answered)
    return variable_part(answered.body, offset, length, 8)


def written_count(answered: Reply) -> int:
    """The Count in the answer to a WRITE [MS-SMB2 2.2.22]."""
    return int(_fixed("<xxxxI", answered)[0])


def room_of(answered: Reply) -> int:
    """The bytes that are free, from the answer to `query_room` [MS-SMB2 2.2.38, MS-FSCC 2.5.4]."""
    _, units, _, sectors, size = _fixed("<QQQII", Reply(0, output_of(answered)))
    return int(units * sectors * size)


def _fixed(layout: str, answered: Reply) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, answered.body)
    except struct.error as error:
        raise MalformedAnswer(f"the server's answer is too short: {error}") from error
