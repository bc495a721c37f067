"""Texts of SQL without what they must not carry. Pure; fails closed.

Literals are found by PostgreSQL's lexical rules. Where a text could be read in two ways (a backslash before a quote, whose
meaning depends on a setting of the session) or ends within a literal (views cut texts), all that follows is taken for a literal.
Comments are dropped with the literals: they may hold anything.

Some statements carry words that are no literals to the lexer and still values: what SET sets, and the arguments of a trigger.
"""

import re
from collections.abc import Callable, Iterator
from enum import StrEnum

HIDDEN = "?"
NOT_READABLE = "<not redactable>"


class Redaction(StrEnum):
    """What is taken out of texts of SQL before they are spooled."""

    NONE = "none"
    SECRETS = "secrets"
    LITERALS = "literals"
    ALL = "all"


_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<line_comment>--[^\n\r]*)
    | (?P<block_comment>/\*)
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*(?:'(?!')|\Z))
    | (?P<ambiguous>(?:[uU]&|[bBxXnN])?'(?:[^'\\]|''|\\[^'])*\\')
    | (?P<string>(?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?:'(?!')|\Z))
    | (?P<identifier>(?:[uU]&)?"(?:[^"]|"")*(?:"(?!")|\Z))
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
    | (?P<parameter>\$\d+)
    | (?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?\w*)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SECRET_SETTING = re.compile(r"conninfo|_command$|passphrase|passw|secret|token|credential|api_?key|private|\.", re.IGNORECASE)
"""Settings whose values may hold a secret; one with a dot is an extension's or an application's: nobody knows what it holds."""
_LITERALS = frozenset({"escaped", "ambiguous", "string", "dollar", "number"})
_COMMENTS = frozenset({"line_comment", "block_comment"})
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_UTILITY = frozenset(
    "alter create copy do set reset import comment notify security call execute prepare declare explain drop grant "
    "reassign load listen refresh".split()
)
_TELLTALE = re.compile(
    r"passw|secret|token|credential|api_?key|private|dblink|crypt|connection|options|conninfo|program|://[^\s'\"]*@",
    re.IGNORECASE,
)
_PLAIN_VALUE = re.compile(r"-?[0-9.]+|on|off", re.IGNORECASE)
Token = tuple[str, str]


def redact(text: str, policy: Redaction) -> str:
    """The text as the policy lets it pass.

    `literals`: every literal is `?`, comments are gone. `secrets`: so it is in utility statements and in texts that look as if
    they held a secret; others pass as they are. `all`: only the first word is left. What cannot be read is NOT_READABLE.
    """
    try:
        return _POLICIES[policy](text)
    except Exception:  # noqa: BLE001  (whatever it is, the text does not pass)
        return NOT_READABLE


def redact_setting(name: str, value: str, policy: Redaction) -> str:
    """The value of a setting as the policy lets it pass. An empty value passes always: that it is set or not is no secret.

    `secrets` and `literals` hide values of settings that may hold a secret by their name, or whose value looks like one; `all`
    hides all but numbers and switches.
    """
    if policy is Redaction.NONE or not value:
        return value
    if policy is Redaction.ALL:
        return value if _PLAIN_VALUE.fullmatch(value) else HIDDEN
    return HIDDEN if _SECRET_SETTING.search(name) or _TELLTALE.search(value) else value


def tokens(text: str) -> Iterator[Token]:
    """(kind, text) of each token; a literal that does not end, or whose end is in doubt, is the last one."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"no token at {at}")
        kind, end = match.lastgroup, match.end()
        if kind == "block_comment":
            end = _end_of_comment(text, end)
        elif kind == "dollar":
            closing = text.find(match.group(), end)
            end = len(text) if closing < 0 else closing + len(match.group())
        elif kind == "ambiguous":
            end = len(text)
        yield kind, text[at:end]
        at = end


def _end_of_comment(text: str, at: int) -> int:
    """Comments nest."""
    depth = 1
    while depth:
        edge = _COMMENT_EDGE.search(text, at)
        if edge is None:
            return len(text)
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return at


def _without_literals(text: str) -> str:
    shown: list[str] = []
    statement = _Statement()
    for kind, token in tokens(text):
        if kind in _COMMENTS:
            shown.append(" ")
        elif kind in _LITERALS or statement.hides(kind, token):
            if shown[-1:] != [HIDDEN]:
                shown.append(HIDDEN)
        else:
            shown.append(token)
    return " ".join("".join(shown).split())


class _Statement:
    """Which words of a statement are values, although the lexer calls them names."""

    def __init__(self) -> None:
        self._words: list[str] = []
        self._value = False

    def hides(self, kind: str, word: str) -> bool:
        """Whether this word, which is no literal, is one in disguise."""
        if kind == "space":
            return False
        if word == ";":
            self._words, self._value = [], False
            return False
        hidden = self._value and kind in ("word", "identifier", "other", "parameter") and word not in ",()"
        if kind == "word":
            self._words.append(word.lower())
        self._value = self._value or self._begins_value(word)
        return hidden

    def _begins_value(self, word: str) -> bool:
        if word == "(":
            return self._words[:1] == ["create"] and "trigger" in self._words and "execute" in self._words
        sets = self._words[:1] == ["set"] or (self._words[:1] in (["alter"], ["create"]) and "set" in self._words)
        return sets and (word == "=" or word.lower() == "to")


def _without_secrets(text: str) -> str:
    first = next((token.lower() for kind, token in tokens(text) if kind == "word"), "")
    return _without_literals(text) if first in _UTILITY or _TELLTALE.search(text) else text


def _first_word(text: str) -> str:
    return next((token.upper() for kind, token in tokens(text) if kind == "word"), "")


_POLICIES: dict[Redaction, Callable[[str], str]] = {
    Redaction.NONE: lambda text: text,
    Redaction.SECRETS: _without_secrets,
    Redaction.LITERALS: _without_literals,
    Redaction.ALL: _first_word,
}
