"""From a location to an open store: the configuration, its secrets, and the backends that are installed."""
