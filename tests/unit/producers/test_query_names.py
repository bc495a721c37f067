"""What queries name has a schema, so that nothing in a database can be taken for it, whatever the search path is.

Operators and types are named without one, to be read by people: the pinned search path keeps those (see the integration tests of
hostile databases).
"""

import re

import pytest
from pglast import ast, parse_sql
from pglast.visitors import Visitor

from pganalytics.producers.admission import LOOK, SUPERUSERS
from pganalytics.producers.catalogue import Variant, load_catalogue
from pganalytics.producers.extension_guard import STILL_THERE
from pganalytics.schemas.metric import builtin_schemas

VARIANTS = [one for each in load_catalogue(builtin_schemas()).variants.values() for one in each]
PARAMETER = re.compile(r"(?<![:\w]):([a-z][a-z0-9_]*)\b")
PLAIN_LITERAL = re.compile(r"(?<![eE])'[^']*'")


class Names(Visitor):
    """Collects the names of functions and relations that have no schema; those of WITH are no relations."""

    def __init__(self) -> None:
        self.bare: set[str] = set()
        self.own: set[str] = set()

    def visit_FuncCall(self, _: object, node: ast.FuncCall) -> None:  # noqa: N802
        names = [part.sval for part in node.funcname or ()]
        self.bare |= {f"{name}()" for name in names if len(names) == 1}

    def visit_RangeVar(self, _: object, node: ast.RangeVar) -> None:  # noqa: N802
        if node.schemaname is None:
            self.bare.add(str(node.relname))

    def visit_CommonTableExpr(self, _: object, node: ast.CommonTableExpr) -> None:  # noqa: N802
        self.own.add(str(node.ctename))


def without_schema(text: str) -> set[str]:
    names = Names()
    names(parse_sql(PARAMETER.sub("1", text).replace(':"schema"', "of_the_extension").replace("%s", "''")))
    return names.bare - names.own


def statements(variant: Variant) -> list[str]:
    return [variant.context or "select", *variant.groups.values()]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda one: f"{one.metric}/{one.name}")
def test_functions_and_relations_of_queries_have_a_schema(variant: Variant) -> None:
    for text in statements(variant):
        assert without_schema(text) == set()


@pytest.mark.parametrize("text", [LOOK, SUPERUSERS, STILL_THERE])
def test_so_have_those_of_what_is_asked_beside_them(text: str) -> None:
    assert without_schema(text) == set()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda one: f"{one.metric}/{one.name}")
def test_no_literal_depends_on_a_setting(variant: Variant) -> None:
    """What a backslash means in '...' is set by standard_conforming_strings, which an owner may switch off for his database."""
    for text in statements(variant):
        assert [literal for literal in PLAIN_LITERAL.findall(text) if "\\" in literal] == []


def test_a_name_without_schema_is_found() -> None:
    """The control."""
    text = "with mine as (select 1) select count(*), pg_catalog.max(a) from mine, pg_stat_activity, pg_catalog.pg_class"
    assert without_schema(text) == {"count()", "pg_stat_activity"}
