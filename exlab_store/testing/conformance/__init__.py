"""The conformance kit: whether a backend keeps each promise that it makes.

`exlab_store.testing.conformance.suite` puts the themes together. Nothing is imported here, as the client processes
of the kit do without pytest.
"""
