"""What an administrator of a Samba server does to its clients, over the same protocol as Windows' own tools."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from conftest import lacking
from samba_server import HOST

if TYPE_CHECKING:
    from samba_server import SambaServer


def may_administrate(samba: SambaServer) -> None:
    """Makes the account that runs the tests an administrator of the server."""
    program = shutil.which("net")
    if program is None:
        lacking("install Debian's package samba-common-bin: its net makes an account an administrator")
        return
    group = grp.getgrgid(os.getegid()).gr_name
    administrators = ["sid=S-1-5-32-544", "ntgroup=Administrators", f"unixgroup={group}", "type=builtin"]
    command = [program, "-s", str(samba.directory / "smb.conf"), "groupmap", "add", *administrators]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def close_open_file(samba: SambaServer, name: str) -> None:
    """Closes a file that clients have open; their sessions go on. It is what Close-SmbOpenFile does on Windows.

    Args:
        samba: The server, of which `may_administrate` has been told.
        name: The file's name on the share.
    """
    from impacket.dcerpc.v5 import srvs, transport
    from impacket.dcerpc.v5.dtypes import NULL
    from impacket.smbconnection import SMBConnection

    connection: Any = SMBConnection(HOST, HOST, sess_port=samba.port)
    try:
        connection.login(samba.user, samba.password)
        pipe: Any = transport.SMBTransport(HOST, dstport=samba.port, filename=r"\srvsvc", smb_connection=connection)
        service: Any = pipe.get_dce_rpc()
        service.connect()
        service.bind(srvs.MSRPC_UUID_SRVS)
        found: Any = srvs.hNetrFileEnum(service, NULL, NULL, 3)["InfoStruct"]["FileInfo"]["Level3"]["Buffer"]
        numbers = [file["fi3_id"] for file in found if file["fi3_path_name"].rstrip("\0").endswith(f"\\{name}")]
        assert numbers, f"nobody has {name} open"
        for number in numbers:
            srvs.hNetrFileClose(service, number)
    finally:
        connection.close()
