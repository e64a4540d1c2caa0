"""The lock of a document: the queue of one process, the request to the backend, and the lock that is held."""
