"""The error of this package for a request that cannot be carried out."""


class RequestError(ValueError):
    """What is wrong with a request, with the value found and what would be right."""
