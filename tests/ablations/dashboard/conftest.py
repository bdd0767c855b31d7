"""The real client and the recording server, as the tests of publishing have them."""

from tests.ablations.publishing.conftest import account, server

__all__ = ["account", "server"]
