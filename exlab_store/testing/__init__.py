"""What test writers and backend authors need: the conformance kit, faults, histories, crashes.

Installed with the extra ``test``. Each part is a module of its own and imports only what it needs.
"""
