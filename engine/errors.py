"""The one family of errors a user is meant to read. Anything else is a defect and crashes visibly.

A message says what failed, what was got and expected, what to do, and what was left untouched.
"""


class EngineError(Exception):
    """The user can mend it; shown as it is by the pages and the shell (exit status 1)."""

    exit_status = 1


class ProjectLocked(EngineError):
    """Another process holds the project's catalogue (exit status 3)."""

    exit_status = 3


class Cancelled(EngineError):
    """The work was cancelled; what was complete is kept and a resume continues from it (exit status 130)."""

    exit_status = 130
