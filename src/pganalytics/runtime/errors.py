"""Errors that end a command, by what the user does next. The message is the user's: one line that names the thing and the cure.

PgAnalyticsError        exit code
├── ProblemFound         1   the command worked and found something wrong
├── SettingsError        2   settings or arguments: mend them and start again
├── Unreachable         69   a broker, store or file is not there or not right: mend it and start again
└── Crash               70   a thread died: report it, with the traceback that -v shows
"""


class PgAnalyticsError(Exception):
    """Base of all errors that a command turns into one line and an exit code."""

    exit_code = 70


class ProblemFound(PgAnalyticsError):
    """Something is wrong with what was looked at."""

    exit_code = 1


class SettingsError(PgAnalyticsError):
    """A setting or argument cannot be used. `problems` holds one line each."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Unreachable(PgAnalyticsError):
    """Something that the service needs is not there, or refuses."""

    exit_code = 69


class Crash(PgAnalyticsError):
    """A thread of the process ended with an exception."""

    exit_code = 70
