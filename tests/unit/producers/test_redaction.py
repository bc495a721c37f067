"""What leaves the agent of a text of SQL: never a literal, whatever its form; what is in doubt is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pganalytics.producers import redaction
from pganalytics.producers.redaction import NOT_READABLE, Redaction, redact, tokens

SECRET = "hunter2"

LITERALS = [
    ("select * from t where a = 'x''y' and b=12.5e3 and c=$1 -- hi", "select * from t where a = ? and b=? and c=$1"),
    ("insert into t values (-1, 1_000, 0x1F, .5, 1., 2e-3)", "insert into t values (-?, ?, ?, ?, ?, ?)"),
    ("select e'a\\'b', E'\\\\', 'c'", "select ?, ?, ?"),
    ("select $a$ it's $b$ $a$, x$y$z, $$q$$", "select ?, x$y$z, ?"),
    ("select b'01', X'ff', n'x', u&'d!0061' uescape '!', u&\"d\"", 'select ?, ?, ?, ? uescape ?, u&"d"'),
    ('select "a""b" from "T"', 'select "a""b" from "T"'),
    ("select 1 /* a /* b */ 'c' */ , 2", "select ? , ?"),
    ("select 'a'\n  'b'", "select ? ?"),
    ("select t1.c2, t1.* from t1", "select t1.c2, t1.* from t1"),
    ("update t set a = b where c > 1", "update t set a = b where c > ?"),
    ("alter table t alter column c set data type text", "alter table t alter column c set data type text"),
    ("SET search_path = a, b; select c", "SET search_path = ?, ?; select c"),
    ("set local app.token to hunter2", "set local app.token to ?"),
    ("alter role a set app.token = hunter2", "alter role a set app.token = ?"),
    (
        "create trigger t before insert on f execute function g(hunter2, x)",
        "create trigger t before insert on f execute function g(?, ?)",
    ),
    ("", ""),
]


@pytest.mark.parametrize(("text", "shown"), LITERALS)
def test_literals_are_hidden_and_names_are_not(text: str, shown: str) -> None:
    assert redact(text, Redaction.LITERALS) == shown


TOLD = [
    f"alter role a password '{SECRET}'",
    f"create subscription s connection 'host=a password={SECRET}' publication p",
    f"create user mapping for a server s options (password '{SECRET}')",
    f"copy t from program 'curl -u me:{SECRET} http://a'",
    f"select * from dblink('password={SECRET}', 'select 1') x",
    f"do $$ begin perform '{SECRET}'; end $$",
    f"do language plpgsql 'begin perform ''{SECRET}''; end'",
    f"alter system set app.token = {SECRET}",
    f"comment on table t is '{SECRET}'",
    f"notify a, '{SECRET}'",
    f"create function f() returns int language sql set app.x = {SECRET} as $$ select 1 $$",
    f"select 1; set app.token to {SECRET}",
    f"select * from t where url = 'postgres://me:{SECRET}@host/db'",
]
"""The statement itself tells that it may hold a secret."""
UNTOLD = [
    f"select 'a\\' {SECRET} from t",  # the literal ends at \', or not: it depends on a setting
    f"select 'never ends {SECRET}",
    f"select e'never ends \\' {SECRET}",
    f"select e'{SECRET}\\",
    f"select $x$ never ends {SECRET}",
    f"select /* never ends {SECRET}",
    f"select /* a /* b */ {SECRET}",
    f"select 1 -- {SECRET}",
    f"select 'x'::text /* {SECRET} */",
    f"set app.x to {SECRET}",
]


@pytest.mark.parametrize(
    ("text", "policy"),
    [(text, Redaction.SECRETS) for text in TOLD]
    + [(text, policy) for text in (*TOLD, *UNTOLD) for policy in (Redaction.LITERALS, Redaction.ALL)],
)
def test_a_secret_does_not_pass(text: str, policy: Redaction) -> None:
    assert SECRET not in redact(text, policy)
    assert SECRET in redact(text, Redaction.NONE)


CONTENT = st.text(st.sampled_from("zq'\\\"$ \n;-*/(é"), max_size=12).map(lambda text: f"zz{text}qq")


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def in_dollars(text: str) -> str:
    return f"$k${text}$k$"


@given(st.lists(st.tuples(CONTENT, st.sampled_from([quoted, escaped, in_dollars])), min_size=1, max_size=5))
def test_no_content_of_any_literal_is_shown(cells: list[tuple[str, object]]) -> None:
    """Each literal is written as PostgreSQL reads it with its default settings."""
    text = "select " + ", ".join(write(content) for content, write in cells) + " from t"  # type: ignore[operator]
    shown = redact(text, Redaction.LITERALS)
    assert "zz" not in shown
    assert "qq" not in shown


@given(st.text())
def test_tokens_are_the_whole_text_in_order(text: str) -> None:
    assert "".join(token for _, token in tokens(text)) == text


@given(st.text(), st.sampled_from(Redaction))
def test_whatever_the_text_something_comes_back(text: str, policy: Redaction) -> None:
    assert redact(text, policy) != NOT_READABLE


def test_what_cannot_be_read_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(text: str) -> None:
        raise RecursionError

    monkeypatch.setattr(redaction, "tokens", break_down)
    assert redact(f"select '{SECRET}'", Redaction.LITERALS) == NOT_READABLE
    assert redact(f"alter role a password '{SECRET}'", Redaction.SECRETS) == NOT_READABLE


def test_all_leaves_the_first_word_and_secrets_leaves_what_holds_none() -> None:
    text = "/* app:x */ select * from t where a = 'b' and n = 1"
    assert redact(text, Redaction.ALL) == "SELECT"
    assert redact(text, Redaction.SECRETS) == text


def test_a_text_of_a_megabyte_takes_no_time_that_matters() -> None:
    """Linear: the time for this is a tenth of a second, not minutes."""
    text = "select " + ", ".join(["'a''b'", "$x$ y $x$", "e'\\''", '"n"', "1"] * 30_000)
    assert len(redact(text, Redaction.LITERALS)) < len(text)
    assert redact("'" * 200_001, Redaction.LITERALS) == "?"
    assert redact("/*" * 100_000, Redaction.LITERALS) == ""
