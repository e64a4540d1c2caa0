"""Other processes that use a store."""
