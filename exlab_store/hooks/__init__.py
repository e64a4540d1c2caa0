"""The typed face of a backend's hooks: each call checked, repeated where that helps, and shown to observers."""
