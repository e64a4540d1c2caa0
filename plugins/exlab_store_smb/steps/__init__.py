"""The parts of an operation on documents: read, replace, delete, lock, list, and find out what has happened."""
