"""Secrets in all places of a watched server in which they can be, each of them another random one that a search finds.

A secret is a word that is also a hexadecimal number, or a number, so it fits into every literal.
"""

import re
from dataclasses import dataclass

SHAPES = {
    "string": "'{w}'",
    "doubled quote": "'it''s {w}'",
    "escape string": "E'it\\'s\\n{w}'",
    "escaped backslash": "E'\\\\{w}'",
    "unicode string": "U&'{w}\\0041'",
    "unicode string with its escape": "U&'{w}!0041' uescape '!'",
    "continued string": "'a'\n'{w}'",
    "national string": "N'{w}'",
    "bits": "X'{w}'::text",
    "dollar quoted": "$${w}$$",
    "dollar quoted with a tag": "$a$it's $$ {w}$a$",
    "typed": "text '{w}'",
    "cast": "cast('{w}' as text)",
    "json": '\'{{"password": "{w}"}}\'::json::text',
    "array": "array['a', '{w}']::text",
    "address": "'postgresql://user:{w}@host/db'",
    "integer": "({n})::text",
    "negative": "(-{n})::text",
    "decimal": "({n}.5)::text",
    "exponent": "({n}e3)::text",
    "after a comment": "/* it's */ '{w}'",
    "in a comment": "/* {w} */ 'a'",
    "in a nested comment": "/* /* it's */ {w} */ 'a'",
    "in a line comment": "-- it's {w}\n'a'",
}
OBJECTS = {
    "default": "create table shop (id int, state text default '{w}', price bigint)",
    "check": "alter table shop add constraint state_known check (state <> '{w}' and price <> {n})",
    "generated": "alter table shop add column told text generated always as (state || '{w}') stored",
    "predicate": "create index shop_open on shop (id) where state = '{w}'",
    "expression": "create index shop_hashed on shop ((md5(state || '{w}')))",
    "view": "create view shop_open_view as select id from shop where state = '{w}' and price = {n}",
    "materialized view": "create materialized view shop_kept as select '{w}'::text as kept",
    "domain": "create domain tag as text default '{w}' check (value <> '{w2}')",
    "list partition": "create table parts (k text) partition by list (k); "
    "create table part_1 partition of parts for values in ('{w}')",
    "range partition": "create table spans (k text) partition by range (k); "
    "create table span_1 partition of spans for values from ('{w}') to ('d')",
    "partition key": "create table keyed (k text) partition by range ((k || '{w}'))",
    "exclusion": "alter table shop add constraint shop_alone exclude (id with =) where (state = '{w}')",
    "trigger": "create function noop() returns trigger language plpgsql as 'begin return new; end'; "
    "create trigger told after update on shop for each row when (new.state = '{w}') execute function noop('{w2}')",
}
"""Definitions that the metrics `schema` and `relations` read."""
SILENT = {
    "function body": "create function pay() returns text language sql as $$ select '{w}' $$",
    "atomic body": "create function pay_atomic() returns text begin atomic select '{w}'; end",
    "argument's default": "create function paid(a text default '{w}') returns text language sql as 'select a'",
    "function's setting": "create function set_here() returns int language sql set app.key = '{w}' as 'select 1'",
    "procedure body": "create procedure settle() language plpgsql as $$ begin perform '{w}'; end $$",
    "policy": "create policy mine on shop using (state = '{w}') with check (state = '{w2}')",
    "rule": "create rule never as on delete to shop where state = '{w}' do instead nothing",
    "statistics": "create statistics guessed on (state || '{w}'), id from shop",
    "aggregate": "create aggregate joined (text) (sfunc = textcat, stype = text, initcond = '{w}')",
    "wrapper's options": "create foreign data wrapper lakes options (token '{w}')",
    "server's options": "create server lake foreign data wrapper lakes options (host 'h', token '{w}')",
    "mapping's options": "create user mapping for current_user server lake options (user 'u', password '{w}')",
    "foreign table's options": "create foreign table fish (n int options (kind '{w}')) server lake options (key '{w2}')",
    "subscription": "create subscription feed connection 'host=127.0.0.1 port=1 password={w}' publication p "
    "with (connect = false, slot_name = none)",
    "publication": "create publication told for table shop where (state <> '{w}')",
    "comment on a table": "comment on table shop is '{w}'",
    "comment on a column": "comment on column shop.state is '{w}'",
    "comment on a function": "comment on function pay() is '{w}'",
    "role's password": "create role {role} login password '{w}'",
    "comment on a role": "comment on role {role} is '{w}'",
    "row": "insert into shop values (1, '{w}', {n})",
}
"""In the catalogue, where no metric reads them."""
CONFIGURED = {
    "role's setting": "alter role {role} set app.key = '{w}'",
    "database's setting": "alter database {database} set app.database_key = '{w}'",
    "setting of a role in a database": "alter role {role} in database {database} set app.of_both = '{w}'",
    "role's name of itself": "alter role {role} set application_name = 'token {w}'",
}
SERVER = {
    "primary_conninfo": "host=127.0.0.1 user=u password={w}",
    "archive_command": "true {w}",
    "restore_command": "true {w}",
    "archive_cleanup_command": "true {w}",
    "recovery_end_command": "true {w}",
    "ssl_passphrase_command": "echo {w}",
    "event_source": "https://user:{w}@host",
    "cluster_name": "password {w}",
}
"""Settings of the server's file."""
STATEMENTS = {
    "create role": "create role {role}_1 password '{w}'",
    "alter role": "alter role {role} password '{w}'",
    "alter user": "alter user {role} encrypted password $${w}$$",
    "user in capitals": "ALTER USER {role} WITH PASSWORD '{w}'",
    "alter wrapper": "alter foreign data wrapper lakes options (set token '{w}')",
    "alter server": "alter server lake options (set token '{w}')",
    "alter mapping": "alter user mapping for current_user server lake options (set password '{w}')",
    "alter foreign table": "alter foreign table fish options (set key '{w}')",
    "alter subscription": "alter subscription feed connection 'host=127.0.0.1 port=1 password={w}'",
    "copy to program": "copy (select 1) to program ': {w}; while read x; do :; done'",
    "copy query": "copy (select '{w}') to program 'while read x; do :; done'",
    "copy options": "copy shop (state) to program 'while read x; do :; done' with (format csv, null '{w}')",
    "comment on": "comment on table shop is $c${w}$c$",
    "comment on the database": "comment on database {database} is '{w}'",
    "set": "set app.token = '{w}'",
    "set to": "set app.token to '{w}'",
    "set a word": "set app.token = {w}",
    "set to a word": "SET app.token TO {w}",
    "set a number": "set app.token = {n}",
    "set a list": "set session search_path = '{w}', '{w2}'; reset search_path",
    "alter role set a word": "alter role {role} set app.word to {w}",
    "alter database set a word": "alter database {database} set app.database_word = {w}",
    "alter system": "alter system set archive_command = 'true {w}'",
    "prepare": "prepare asked as select '{w}' as a, /* {w2} */ {n} as n",
    "execute": "prepare given (text) as select $1; execute given ('{w}')",
    "do": "do $$ begin perform '{w}'; end $$",
    "do with a tag": "do $x$ begin perform {n}; /* {w} */ end $x$",
    "do in a string": "do 'begin perform ''{w}''; end'",
    "do with a role": "do $$ begin execute 'alter role {role} password ''{w}'''; end $$",
    "create function": "create function told_1() returns text language sql as $f$ select '{w}' $f$",
    "create function with defaults": "create function told_2(a text = '{w}') returns text language sql as 'select ''{w2}'''",
    "create function with settings": "create function told_3() returns int language sql set app.key = {w} as 'select 1'",
    "create view": "create view told_view as select '{w}' as told",
    "create table": "create table told_table (a text default '{w}' check (a <> '{w2}'))",
    "create table as": "create table told_as as select '{w}' as told",
    "create index": "create index told_index on shop (id) where state = '{w}' and price > {n}",
    "create policy": "create policy told on shop using (state = '{w}')",
    "create trigger": "create trigger told_trigger after update on shop for each row execute function noop('{w}', {w2}, {n})",
    "create rule": "create rule told_rule as on update to shop where new.state = '{w}' do instead nothing",
    "create domain": "create domain told_domain as text default '{w}'",
    "create type": "create type told_range as range (subtype = text, collation = \"C\"); comment on type told_range is '{w}'",
    "alter default": "alter table shop alter price set default {n}",
    "declare": "begin; declare told cursor for select '{w}'; commit",
    "explain": "explain select '{w}'",
    "notify": "notify told, '{w}'",
    "call": "create procedure asked_for(a text) language sql as 'select 1'; call asked_for('{w}')",
    "import": "do $$ begin import foreign schema {w} from server lake into public; exception when others then null; end $$",
    "a comment first": "/* {w} */ select id from shop",
    "a comment last": "select id, state from shop -- {w}",
    "a comment of a tool": "select price from shop /*application='web',token='{w}'*/",
    "a nested comment": "select /* /* it's */ {w} */ id, price from shop",
    "a line comment": "select -- it's {w}\n id, price, state from shop",
    "two statements": "set app.token = '{w}'; set app.token = {w2}",
}
"""What pg_stat_statements keeps as it was written: utility statements, most of them, and comments."""
ERRORS = {
    "number": "select state::bigint as n from public.quoted where name = 'number'",
    "date": "select (state::date - current_date)::bigint as n from public.quoted where name = 'date'",
    "json": "select length((state::json)::text)::bigint as n from public.quoted where name = 'json'",
    "relation": "select state::regclass::oid::bigint as n from public.quoted where name = 'relation'",
    "setting": "select length(current_setting(state))::bigint as n from public.quoted where name = 'setting'",
    "typed": "select 1::bigint as n, state as share from public.quoted where name = 'typed'",
    "raised": "select public.raised() as n",
    "raised_as": "select public.raised_as() as n",
}
"""Queries of metrics that a user made, by their names: they fail, and the error quotes what was read; that of `typed` is the
agent's own."""
ROLE = "payer"
SECRET = re.compile(rb"(?=(c0ffee[0-9a-f]{10}|77[0-9]{13}))")


@dataclass(frozen=True)
class Place:
    """`reaches`: whether it is in a reading, from which the agent has to take it."""

    kind: str
    name: str
    reaches: bool


def found_in(data: bytes) -> set[str]:
    """What looks like a secret in these bytes, however its letters are written."""
    return {match[1].decode() for match in SECRET.finditer(data.lower())}
