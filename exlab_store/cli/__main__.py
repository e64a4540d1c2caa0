"""``python -m exlab_store.cli`` is the command ``exlab-store``."""

from __future__ import annotations

from exlab_store.cli import main

if __name__ == "__main__":
    main()
