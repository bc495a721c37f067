"""Commands that a screen tells to type: each can be pasted into a shell as it stands, whatever a name in it holds.

In a sentence a command of ours stands between backticks, without the settings file, which only the command line knows.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_IN_SENTENCE = re.compile(r"`(pganalytics (?!demo\b)[^`]+)`")


@dataclass(frozen=True, slots=True)
class Advice:
    """`config`: what `--config` was; without it the next command finds its settings as this one did."""

    config: Path | None = None

    def command(self, *words: str) -> str:
        """A command with these arguments and the same settings."""
        options = [] if self.config is None else ["-c", str(self.config)]
        return " ".join(["pganalytics", *map(shell_word, [*words, *options])])

    def completed(self, text: str) -> str:
        """A sentence whose commands have the same settings."""
        if self.config is None:
            return text
        option = f" -c {shell_word(str(self.config))}"
        return _IN_SENTENCE.sub(lambda match: f"`{match[1]}{option}`", text)


def shell_word(text: str) -> str:
    """A text as one word of bash, ksh or zsh; what a terminal must not get is written as its bytes."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(char: str) -> str:
    if char.isprintable():
        return f"\\{char}" if char in "\\'" else char
    raw = char.encode("utf-8", "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in raw)
