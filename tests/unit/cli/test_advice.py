"""What a screen tells to type arrives in a shell as it was meant, and does nothing to the terminal on its way."""

import subprocess
from pathlib import Path

import pytest

from pganalytics.cli.advice import Advice, shell_word

NAMES = (
    "db1",
    "[::1]:5432",
    "$(reboot)",
    "it's; -x",
    "a b",
    "",
    "`x`",
    "caf\u00e9 \U0001f418",
    "db\x1b[2J\u202e\nx",
    "\\'\t1",
    "\udc80\ud800!",
)


def raw(text: str) -> bytes:
    """Its bytes, those of a broken text among them."""
    return b"".join(c.encode("utf-8", "surrogateescape" if "\udc80" <= c <= "\udcff" else "surrogatepass") for c in text)


def test_a_shell_reads_each_name_as_it_is() -> None:
    words = [shell_word(name) for name in NAMES]
    assert all(word.isprintable() and word.encode() for word in words)
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {' '.join(words)}"], capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == list(map(raw, NAMES))


def test_a_name_that_needs_no_quotes_has_none() -> None:
    assert Advice().command("check", "--target", "db1.example:5432") == "pganalytics check --target db1.example:5432"


def test_the_next_command_has_the_same_settings() -> None:
    assert Advice(Path("a b.toml")).command("audit") == "pganalytics audit -c 'a b.toml'"


@pytest.mark.parametrize(
    ("sentence", "completed"),
    [
        ("topic t is missing: run `pganalytics setup`", "topic t is missing: run `pganalytics setup -c a.toml`"),
        ("`pganalytics x` or `pganalytics y --z`", "`pganalytics x -c a.toml` or `pganalytics y --z -c a.toml`"),
        ("Written by `pganalytics demo`", "Written by `pganalytics demo`"),
        ("pganalytics setup failed: `ls`", "pganalytics setup failed: `ls`"),
    ],
)
def test_commands_in_sentences_have_them_too(sentence: str, completed: str) -> None:
    assert Advice(Path("a.toml")).completed(sentence) == completed
    assert Advice().completed(sentence) == sentence
