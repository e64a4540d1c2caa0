"""What is asked for with `in_forked_child` happens in a child, in order, and not in its parent."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_makes_the_calls_in_the_order_of_the_requests_whatever_one_raises() -> None:
    program = (
        "import os\n"
        "from exlab_store.backend import in_forked_child\n"
        "made = []\n"
        "in_forked_child(lambda: made.append('first'))\n"
        "in_forked_child(lambda: 1 / 0)\n"
        "in_forked_child(lambda: made.append('second'))\n"
        "child = os.fork()\n"
        "if child:\n"
        "    os.waitpid(child, 0)\n"
        "print(made, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["['first', 'second']", "[]"]
