"""The requests that the hooks are made of, and what is read out of the answers [MS-SMB2 2.2].

A message works on the file of the CREATE before it in the same compound, unless it is given a file of its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from smbprotocol.file_info import FileInformationClass, InfoType
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    ImpersonationLevel,
    LockFlags,
    SMB2CloseRequest,
    SMB2CreateRequest,
    SMB2FlushRequest,
    SMB2LockElement,
    SMB2LockRequest,
    SMB2QueryDirectoryRequest,
    SMB2QueryInfoRequest,
    SMB2ReadRequest,
    SMB2SetInfoRequest,
    SMB2WriteRequest,
)

__all__ = [
    "RELATED",
    "Reply",
    "changed_at",
    "close",
    "create_document",
    "create_probe",
    "created_at",
    "file_id_of",
    "flush",
    "is_directory",
    "links_of",
    "lock_byte_0",
    "make_directory",
    "mark",
    "open_directory",
    "open_for_deletion",
    "open_for_flush",
    "open_for_rename",
    "open_lock_file",
    "open_lock_file_to_read",
    "open_parent",
    "open_to_ask",
    "open_to_delete",
    "open_to_discard",
    "open_to_list",
    "open_to_read",
    "output_of",
    "query_directory",
    "query_links",
    "query_room",
    "read",
    "read_bytes",
    "rename",
    "room_of",
    "size_of",
    "unlock_byte_0",
    "write",
    "written_count",
]

RELATED: Final = b"\xff" * 16
"""Stands for the file of the CREATE before it [MS-SMB2 3.2.4.1.4]."""

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


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server.

    Attributes:
        status: NTSTATUS [MS-ERREF 2.3]; 0 is success.
        body: What follows the header.
    """

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the request was carried out."""
        return self.status == 0


def _create(path: str, access: int, disposition: int, options: int, share: int = _SHARE_ALL) -> Any:
    message = SMB2CreateRequest()
    message["impersonation_level"] = ImpersonationLevel.Impersonation
    message["desired_access"] = access | _ALWAYS
    message["share_access"] = share
    message["create_disposition"] = disposition
    message["create_options"] = options
    message["buffer_path"] = path.encode("utf-16-le") or b"\0\0"
    return message


_FILE: Final = CreateOptions.FILE_NON_DIRECTORY_FILE
_DIRECTORY: Final = CreateOptions.FILE_DIRECTORY_FILE


def open_to_read(path: str) -> Any:
    """CREATE for reading a file that exists."""
    return _create(path, _READ_DATA, CreateDisposition.FILE_OPEN, _FILE)


def create_document(path: str, *, marked: bool = False) -> Any:
    """CREATE of a file that must not exist yet, to be written, flushed and renamed.

    Args:
        path: The file's name on the share.
        marked: It will be given a mark with `mark`.
    """
    access = _WRITE_DATA | _DELETE | (_WRITE_ATTRIBUTES if marked else 0)
    return _create(path, access, CreateDisposition.FILE_CREATE, _FILE)


def create_probe(path: str) -> Any:
    """CREATE of a file that must not exist yet and goes when it is closed: what time it is where documents are."""
    return _create(path, _DELETE, CreateDisposition.FILE_CREATE, _FILE | CreateOptions.FILE_DELETE_ON_CLOSE)


def open_for_flush(path: str) -> Any:
    """CREATE for flushing a file that exists."""
    return _create(path, _WRITE_DATA, CreateDisposition.FILE_OPEN, _FILE)


def open_for_rename(path: str) -> Any:
    """CREATE for renaming a file that exists."""
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, _FILE)


def open_for_deletion(path: str) -> Any:
    """CREATE that asks for the right to delete, and deletes nothing: tells a refusal from a file in use."""
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, 0)


def open_to_delete(path: str) -> Any:
    """CREATE of a file that goes when it is closed."""
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, _FILE | CreateOptions.FILE_DELETE_ON_CLOSE)


def open_to_discard(path: str) -> Any:
    """CREATE of a temporary file that goes when it is closed; refused while anybody has it open.

    Its writer, if it is still at work, would otherwise rename to the document what is about to go.
    """
    options = _FILE | CreateOptions.FILE_DELETE_ON_CLOSE
    return _create(path, _DELETE, CreateDisposition.FILE_OPEN, options, _SHARE_NOTHING)


def open_to_ask(path: str) -> Any:
    """CREATE of a file or a directory to learn that it is there."""
    return _create(path, 0, CreateDisposition.FILE_OPEN, 0)


def open_to_list(path: str) -> Any:
    """CREATE of a directory that exists, for listing what is in it."""
    return _create(path, _READ_DATA, CreateDisposition.FILE_OPEN, _DIRECTORY)


def open_directory(path: str) -> Any:
    """CREATE of a directory that exists, for flushing it after a file in it was made, renamed or deleted."""
    return _create(path, _WRITE_DATA, CreateDisposition.FILE_OPEN, _DIRECTORY)


def open_parent(path: str) -> Any:
    """CREATE of a directory that exists, for flushing it after a directory in it was made."""
    return _create(path, _APPEND_DATA, CreateDisposition.FILE_OPEN, _DIRECTORY)


def make_directory(path: str) -> Any:
    """CREATE of a directory, whether it exists or not."""
    return _create(path, 0, CreateDisposition.FILE_OPEN_IF, _DIRECTORY)


def open_lock_file(path: str) -> Any:
    """CREATE of a lock file, whether it exists or not."""
    return _create(path, _READ_DATA | _WRITE_DATA, CreateDisposition.FILE_OPEN_IF, _FILE, _SHARE_READ_WRITE)


def open_lock_file_to_read(path: str) -> Any:
    """CREATE of a lock file that exists, for reading who holds it."""
    return _create(path, _READ_DATA, CreateDisposition.FILE_OPEN, _FILE, _SHARE_READ_WRITE)


def read(offset: int, length: int, file_id: bytes = RELATED) -> Any:
    """READ; past the end it gives what there is."""
    message = SMB2ReadRequest()
    message["offset"] = offset
    message["length"] = length
    message["file_id"] = file_id
    message["buffer"] = b"\0"
    return message


def write(offset: int, data: bytes, file_id: bytes = RELATED) -> Any:
    """WRITE."""
    message = SMB2WriteRequest()
    message["offset"] = offset
    message["length"] = len(data)
    message["file_id"] = file_id
    message["buffer"] = data
    return message


def flush(file_id: bytes = RELATED) -> Any:
    """FLUSH: fsync on Samba, for a file and for a directory."""
    message = SMB2FlushRequest()
    message["file_id"] = file_id
    return message


def close(file_id: bytes = RELATED) -> Any:
    """CLOSE."""
    message = SMB2CloseRequest()
    message["file_id"] = file_id
    return message


def rename(path: str, file_id: bytes = RELATED) -> Any:
    """SET_INFO FileRenameInformation with ReplaceIfExists [MS-FSCC 2.4.42.2]."""
    name = path.encode("utf-16-le")
    message = SMB2SetInfoRequest()
    message["info_type"] = InfoType.SMB2_0_INFO_FILE
    message["file_info_class"] = FileInformationClass.FILE_RENAME_INFORMATION
    message["file_id"] = file_id
    message["buffer"] = struct.pack("<B7xQI", 1, 0, len(name)) + name
    return message


def mark(created: int) -> Any:
    """SET_INFO FileBasicInformation [MS-FSCC 2.4.7]: the creation time, and nothing else.

    Args:
        created: Units of 100 ns since 1601.
    """
    message = SMB2SetInfoRequest()
    message["info_type"] = InfoType.SMB2_0_INFO_FILE
    message["file_info_class"] = FileInformationClass.FILE_BASIC_INFORMATION
    message["file_id"] = RELATED
    message["buffer"] = struct.pack("<QQQQII", created, 0, 0, 0, 0, 0)
    return message


def lock_byte_0(file_id: bytes = RELATED, *, wait: bool) -> Any:
    """LOCK of byte 0, exclusive: what filelock locks on Windows.

    Args:
        file_id: The lock file.
        wait: Answered when the lock is granted; otherwise at once.
    """
    element = SMB2LockElement()
    element["offset"] = 0
    element["length"] = 1
    flags = LockFlags.SMB2_LOCKFLAG_EXCLUSIVE_LOCK
    element["flags"] = flags if wait else flags | LockFlags.SMB2_LOCKFLAG_FAIL_IMMEDIATELY
    message = SMB2LockRequest()
    message["file_id"] = file_id
    message["locks"] = [element]
    return message


def unlock_byte_0(file_id: bytes = RELATED) -> Any:
    """LOCK that gives byte 0 back."""
    element = SMB2LockElement()
    element["offset"] = 0
    element["length"] = 1
    element["flags"] = LockFlags.SMB2_LOCKFLAG_UNLOCK
    message = SMB2LockRequest()
    message["file_id"] = file_id
    message["locks"] = [element]
    return message


def query_directory(file_id: bytes = RELATED) -> Any:
    """QUERY_DIRECTORY FileFullDirectoryInformation [MS-FSCC 2.4.17]: the next names, as many as a credit pays for."""
    message = SMB2QueryDirectoryRequest()
    message["file_information_class"] = FileInformationClass.FILE_FULL_DIRECTORY_INFORMATION
    message["file_id"] = file_id
    message["output_buffer_length"] = 64 << 10
    message["buffer"] = "*".encode("utf-16-le")
    return message


def query_room() -> Any:
    """QUERY_INFO FileFsFullSizeInformation [MS-FSCC 2.5.4]: what is free, to this user."""
    message = SMB2QueryInfoRequest()
    message["info_type"] = InfoType.SMB2_0_INFO_FILESYSTEM
    message["file_info_class"] = 7
    message["output_buffer_length"] = 32
    message["file_id"] = RELATED
    return message


def query_links() -> Any:
    """QUERY_INFO FileStandardInformation [MS-FSCC 2.4.47]: whether a file that is open still has a name."""
    message = SMB2QueryInfoRequest()
    message["info_type"] = InfoType.SMB2_0_INFO_FILE
    message["file_info_class"] = FileInformationClass.FILE_STANDARD_INFORMATION
    message["output_buffer_length"] = 24
    message["file_id"] = RELATED
    return message


def file_id_of(created: Reply) -> bytes:
    """The FileId in the answer to a CREATE [MS-SMB2 2.2.14]."""
    return created.body[64:80]


def size_of(created: Reply) -> int:
    """The EndofFile in the answer to a CREATE [MS-SMB2 2.2.14]."""
    return int(struct.unpack_from("<Q", created.body, 48)[0])


def created_at(created: Reply) -> int:
    """The CreationTime in the answer to a CREATE [MS-SMB2 2.2.14], in units of 100 ns since 1601."""
    return int(struct.unpack_from("<Q", created.body, 8)[0])


def changed_at(created: Reply) -> int:
    """The later of LastWriteTime and ChangeTime in the answer to a CREATE [MS-SMB2 2.2.14], in units of 100 ns."""
    return int(max(struct.unpack_from("<QQ", created.body, 24)))


def is_directory(created: Reply) -> bool:
    """Whether the answer to a CREATE is about a directory [MS-SMB2 2.2.14 FileAttributes]."""
    return bool(struct.unpack_from("<I", created.body, 56)[0] & 0x10)


def links_of(answered: Reply) -> int:
    """The number of names that a file has, from the answer to `query_links`; one that is to go has none."""
    (offset,) = struct.unpack_from("<xxH", answered.body)
    links, going = struct.unpack_from("<16xI?", answered.body, offset - 64)
    return 0 if going else int(links)


def read_bytes(answered: Reply) -> bytes:
    """The data in the answer to a READ [MS-SMB2 2.2.20]."""
    offset, length = struct.unpack_from("<xxBxI", answered.body)
    return answered.body[offset - 64 : offset - 64 + length]


def output_of(answered: Reply) -> bytes:
    """The data in the answer to a QUERY_DIRECTORY [MS-SMB2 2.2.34]."""
    offset, length = struct.unpack_from("<xxHI", answered.body)
    return answered.body[offset - 64 : offset - 64 + length]


def written_count(answered: Reply) -> int:
    """The Count in the answer to a WRITE [MS-SMB2 2.2.22]."""
    return int(struct.unpack_from("<xxxxI", answered.body)[0])


def room_of(answered: Reply) -> int:
    """The bytes that are free, from the answer to `query_room` [MS-SMB2 2.2.38, MS-FSCC 2.5.4]."""
    (offset,) = struct.unpack_from("<xxH", answered.body)
    _, units, _, sectors, size = struct.unpack_from("<QQQII", answered.body, offset - 64)
    return int(units * sectors * size)
