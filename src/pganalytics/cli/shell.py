"""What all commands share: options, errors as one line and an exit code, logging."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pganalytics.cli.advice import Advice
from pganalytics.embedded.errors import EmbeddedError
from pganalytics.runtime.errors import PgAnalyticsError
from pganalytics.runtime.logs import set_up_logging
from pganalytics.runtime.settings import Settings
from pganalytics.runtime.settings_file import load_settings

USAGE, UNREACHABLE, CRASH, INTERRUPTED = 2, 69, 70, 130
PIPE_COLUMNS = 400

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Settings file (TOML); default: $PGANALYTICS_CONFIG.", show_default=False)
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, and show tracebacks of errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def say(line: str) -> None:
    """One line to standard error: progress and problems."""
    print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """A text as it may go to a terminal: what would move the cursor, hide or reorder text is escaped."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def result_console() -> Console:
    """Standard output for tables. Not a terminal: wide enough that nothing is cut. With NO_COLOR it is plain text."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_COLUMNS)
    return Console(highlight=False, width=console.width, color_system=None) if console.no_color else console


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors into lines on standard error and exit codes; the traceback is shown with -v."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        tell = functools.partial(fail, verbose=kwargs.get("verbose", False), advice=Advice(kwargs.get("config")))
        try:
            command(*args, **kwargs)
        except PgAnalyticsError as error:
            code = tell(error, error.exit_code)
        except EmbeddedError as error:
            code = tell(error, UNREACHABLE)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = INTERRUPTED
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - the last place that can say anything
            unexpected = RuntimeError(f"crashed: {error!r}; please report it, with the output of the same command and -v")
            unexpected.__cause__ = error
            code = tell(unexpected, CRASH)
        else:
            return
        raise typer.Exit(code)

    return run


def fail(error: BaseException, code: int, *, verbose: bool, advice: Advice = Advice()) -> int:
    """Print an error for people; the exit code."""
    if verbose:
        traceback.print_exception(error)
    for line in str(error).splitlines() or [type(error).__name__]:
        say(f"pganalytics: {advice.completed(line)}")
    return code


def load(config: Path | None, *, verbose: bool) -> Settings:
    """Resolved settings, with logging set up as they say."""
    settings = load_settings(config)
    set_up_logging(level="debug" if verbose else settings.log.level, as_json=settings.log.format == "json")
    return settings
