"""How the modules of the SMB backend stand to each other, where no contract of the imports says it, and how many
functions stand between a write and the network."""

from __future__ import annotations

import ast
import socket
import threading
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exlab_store import open_store

if TYPE_CHECKING:
    from samba_server import SambaServer

PACKAGE = Path(__file__).parents[2] / "plugins" / "exlab_store_smb"
MODULES = {
    ".".join(("exlab_store_smb", *path.relative_to(PACKAGE).with_suffix("").parts)): ast.parse(path.read_text("utf-8"))
    for path in PACKAGE.rglob("*.py")
}


def imports_of(tree: ast.Module) -> set[str]:
    """The modules of the package that one imports anywhere, under TYPE_CHECKING too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & set(MODULES)


def test_no_module_imports_itself_over_others() -> None:
    left = {name: imports_of(tree) for name, tree in MODULES.items()}
    while leaves := {name for name, imports in left.items() if not imports}:
        left = {name: imports - leaves for name, imports in left.items() if name not in leaves}
    assert not left, "each of these is part of a circle, or imports one"


def test_no_two_classes_have_one_name() -> None:
    classes = Counter(
        node.name for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


def test_one_module_says_what_a_forked_child_does() -> None:
    found = [name for name, tree in MODULES.items() if "register_at_fork" in ast.dump(tree)]
    assert found == ["exlab_store_smb.wire.forked_child"]


def test_no_file_is_longer_than_450_lines() -> None:
    lengths = {str(path.relative_to(PACKAGE)): path.read_text("utf-8").count("\n") for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


@pytest.mark.one_interpreter
def test_a_write_is_at_most_eleven_functions_above_the_network(
    samba: SambaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, stacks = threading.get_ident(), list[list[str]]()
    sendall = socket.socket.sendall

    def watched(sender: socket.socket, data: bytes) -> None:
        if threading.get_ident() == here:
            stacks.append([f"{frame.filename}: {frame.name}" for frame in traceback.extract_stack()[:-1]])
        sendall(sender, data)

    with open_store(samba.url(), password=samba.password) as store:
        for _ in range(2):  # the first write shows what the server does
            store.atomic_write("a.json", b"{}")
        monkeypatch.setattr(socket.socket, "sendall", watched)
        store.atomic_write("a.json", b"[]")
    (stack, *_) = stacks
    above = len(traceback.extract_stack())  # this function and what calls it
    assert len(stack) - above <= 11, stack[above:]
