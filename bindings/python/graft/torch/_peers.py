"""The error of a graft between processes, apart from what needs torch.distributed."""

from __future__ import annotations

from .._errors import GraftError


class PeerError(GraftError, RuntimeError):
    """Another process of the group failed, left, or stands elsewhere. Nothing has changed here."""
