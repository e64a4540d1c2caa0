"""What a program imports in the main thread in the middle of an operation, other than by `import_whole`."""

from __future__ import annotations

import json
import subprocess
import sys

__all__ = ["NOTED", "late_imports", "said"]

# In an interpreter of its own, as this one has imported everything. "import" is raised for what is not there yet.
NOTED = """
import sys, threading

found = []

def note(event, arguments):
    if event != "import" or threading.current_thread() is not threading.main_thread():
        return
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "import_whole":
            return
        frame = frame.f_back
    found.append(arguments[0])
"""
_OPERATIONS = """
import json
from exlab_store import DocumentNotFound, open_store

store = open_store(sys.argv[1], **json.loads(sys.argv[2]))
sys.addaudithook(note)
store.atomic_write("folder/a.json", b"{}")
store.update("folder/a.json", lambda _: b"1")
store.atomic_write("folder/a.json", b"2", expect=store.read_snapshot("folder/a.json").version)
with store.lock("folder/a.json") as lock:
    store.atomic_write("folder/a.json", b"3", lock=lock if store.guarantees.fenced else None)
store.watch(timeout=0).close()
list(store.list_keys())
list(store.read_many(["folder/a.json"] * 20, concurrency=4))
list(store.list_leftovers())
(store.root / "folder").relative_to("")
try:
    store.read_snapshot("nothing/here.json")
except DocumentNotFound:
    pass
store.delete("folder/a.json")
store.aio
print(*found)
"""


def said(program: str, *arguments: str) -> str:
    """What a program prints in an interpreter of its own."""
    ran = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    return ran.stdout.strip()


def late_imports(location: str, **options: object) -> list[str]:
    """The modules that the operations on a store import so; a signal handler's exception may strike each of them.

    Args:
        location: Of a store.
        options: For `open_store`, as JSON has them.
    """
    return said(NOTED + _OPERATIONS, location, json.dumps(options)).split()
