"""What can go wrong while a network is converted; both end with exit code 4, like any package that cannot be used."""

from __future__ import annotations

from edge.errors import EdgeError


class ConversionError(EdgeError):
    """A network, or a part of one, that cannot be converted faithfully."""

    exit_code = 4


class ParityFailure(EdgeError):
    """The converted network does not compute what the original computes, or nothing shows that it does."""

    exit_code = 4


class DownloadError(EdgeError):
    """A file that the package registry did not give, or one that is not the pinned file."""

    exit_code = 4
