"""What the owner of a database can plant to have his code run by whoever reads it: functions, operators, types and relations with
the names that queries use, with the same and with more exact types, in `public` and in a schema named like the reading role.

Each planted thing raises PLANTED when it is run or read: nothing that went through one gives an answer.
"""

import re
from collections.abc import Iterable

import psycopg
from psycopg import sql

PLANTED = "a planted object was run"
COMMON = "int4 int8 float8 numeric text name oid timestamptz".split()
"""Types of arguments for which functions and operators are planted that the server has for any type."""
SYMBOLS = "= <> < > <= >= || + - * / % ~ !~ ~~ !~~ @> -> ->>".split()
WORD = re.compile(r"[a-z_][a-z0-9_]+")
MARK = """
create function {schema}.mark() returns bool language plpgsql volatile cost 0.0001
as $f$ begin raise exception '{planted}'; end $f$;
create function {schema}.marked_count(int8) returns int8 language plpgsql as $f$ begin perform {schema}.mark(); end $f$;
create aggregate {schema}.count(*) (sfunc = {schema}.marked_count, stype = int8, initcond = '0')
"""
FUNCTIONS = """
do $do$
declare
    one record;
begin
    for one in
        select p.proname, oidvectortypes(p.proargtypes) as arguments,
            case when t.typtype = 'p' or p.proretset then 'bool' else format_type(t.oid, null) end as result
        from pg_proc p join pg_type t on t.oid = p.prorettype
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any ({words}) and p.prokind in ('f', 'a', 'w')
        union
        select p.proname, t.name, case when p.prorettype = 'int8'::regtype then 'int8' else t.name end
        from pg_proc p, unnest({common}) as t (name)
        where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any ({words}) and p.pronargs = 1
    loop
        begin
            execute format('create function {schema}.%I(%s) returns %s language plpgsql as {body}',
                one.proname, one.arguments, one.result);
        exception
            when invalid_function_definition or undefined_object or duplicate_function or feature_not_supported then null;
        end;
    end loop;
end $do$
"""
OPERATORS = """
do $do$
declare
    one record;
begin
    for one in
        select o.oprname as symbol, format_type(o.oprleft, null) as lefts, format_type(o.oprright, null) as rights,
            format_type(o.oprresult, null) as result
        from pg_operator o
        join pg_type l on l.oid = o.oprleft and l.typtype <> 'p'
        join pg_type r on r.oid = o.oprright and r.typtype <> 'p'
        where o.oprname = any ({symbols}) and o.oprnamespace = 'pg_catalog'::regnamespace
        union all
        select s, format_type(a.oid, null), format_type(b.oid, null), 'bool'
        from unnest({symbols}) s, pg_type a, pg_type b
        where a.oid = any ({common}::regtype[]) and b.oid = any ({common}::regtype[]) and not exists (
            select from pg_operator o where o.oprname = s and o.oprleft = a.oid and o.oprright = b.oid
                and o.oprnamespace = 'pg_catalog'::regnamespace)
    loop
        execute format('create function {schema}.%I(%s, %s) returns %s language plpgsql as {body}',
            'planted ' || one.symbol, one.lefts, one.rights, one.result);
        execute format('create operator {schema}.%s (leftarg = %s, rightarg = %s, function = {schema}.%I)',
            one.symbol, one.lefts, one.rights, 'planted ' || one.symbol);
    end loop;
end $do$
"""
RELATIONS = """
do $do$
declare
    one record;
begin
    for one in
        select c.relname, string_agg(
            case a.atttypid when 'anyarray'::regtype then 'null::text[] as ' else '' end || quote_ident(a.attname), ', '
            order by a.attnum) as columns
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'pg_catalog'::regnamespace and c.relname = any ({words}) and c.relkind in ('r', 'v')
        group by c.relname
    loop
        execute format('create view {schema}.%I as select %s from pg_catalog.%I where {schema}.mark()',
            one.relname, one.columns, one.relname);
    end loop;
end $do$
"""
TYPES = """
do $do$
declare
    one record;
begin
    for one in
        select t.typname from pg_type t
        where t.typnamespace = 'pg_catalog'::regnamespace and t.typname = any ({words}) and t.typtype = 'b' and t.typelem = 0
    loop
        execute format('create domain {schema}.%I as pg_catalog.%I check ({schema}.mark())', one.typname, one.typname);
    end loop;
end $do$
"""


ALL_BUT_OPERATORS = (MARK, FUNCTIONS, RELATIONS, TYPES)
EVERYTHING = (*ALL_BUT_OPERATORS, OPERATORS)


def plant(connection: psycopg.Connection, schema: str, texts: Iterable[str], *, steps: Iterable[str] = EVERYTHING) -> None:
    """Plant in a schema whatever these texts of queries name. Whoever is connected must own the schema."""
    words = sorted({word for text in texts for word in WORD.findall(text)} | {"text", "name", "int8", "float8", "int4"})
    said = {
        "schema": sql.Identifier(schema).as_string(connection),
        "words": _array(connection, words),
        "common": _array(connection, COMMON),
        "symbols": _array(connection, SYMBOLS),
        "planted": PLANTED,
        "body": f"$f$ begin perform {sql.Identifier(schema).as_string(connection)}.mark(); end $f$",
    }
    with connection.transaction():
        connection.execute("set local search_path = pg_catalog, pg_temp")
        for step in steps:
            connection.execute(step.format(**said).encode())


def _array(connection: psycopg.Connection, words: Iterable[str]) -> str:
    return sql.Literal(list(words)).as_string(connection) + "::text[]"
