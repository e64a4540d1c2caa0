"""The doctor at a WebDAV server: what is claimed is put to the test, and of the rest it says why it is not claimed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from web_servers import KINDS, Kind, running_web_server

pytestmark = pytest.mark.one_interpreter

_SAID = {
    "nginx": [r"each gave a whole document", r"left out of nginx's lists"],
    "apache": [r"Apache replaces a document in one step, but gives a reader that comes meanwhile no more of it"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_doctor_says_what_holds_and_what_the_server_does_not_give(kind: Kind) -> None:
    with running_web_server(kind) as server:
        configuration = server.directory / "exlab-store.toml"
        configuration.write_text(
            f'[stores.dav]\nurl = "fsspec+webdav://127.0.0.1:{server.port}"\nusername = "{server.user}"\n'
            f'password = "{server.password}"\noptions = {{ tls = false }}\n'
        )
        command = [sys.executable, "-m", "exlab_store.cli", "--config", str(configuration), "doctor", "@dav"]
        result = subprocess.run(
            command, env=os.environ | {"COLUMNS": "400"}, capture_output=True, text=True, check=False
        )
    said = " ".join(result.stdout.split())
    assert result.returncode == 0, result.stdout + result.stderr
    assert server.password not in result.stdout + result.stderr
    for text in [*_SAID[kind], "No locks are claimed: there are no locks in fsspec"]:
        assert text in said
