"""status.h and version.h: numbers in, texts out, nothing to refuse."""

from __future__ import annotations

from ..kinds import Any_, Function

FUNCTIONS = {
    "graft_version": Function({}),
    "graft_version_string": Function({}),
    "graft_instructions": Function({}),
    "graft_last_error": Function({}),
    # "unknown" for a number that is no status.
    "graft_status_name": Function({"status": Any_(0, 10, 11, -1, 2**31 - 1, -2**31)}),
}
