"""A second distribution that claims the scheme of the first."""


def open_backend(location: object, options: object) -> object:
    raise AssertionError("nobody may open one of two rivals")
