-- Definitions of the objects of users: relations, columns, constraints, indexes, triggers, functions, types.
-- scope: database
-- interval: 3600 s
-- timeout: 60 s
-- privilege: none
-- server: 13
-- Costs some 10 microseconds of the server for each object, 30 for an index. Functions that show a definition open the relation
-- (of a view also those that it reads): an index, CHECK or EXCLUDE, a generated column, a trigger with WHEN, a partition key. What is
-- locked in ACCESS EXCLUSIVE mode in this database, or is about to be, is skipped; a lock that is taken in between ends the
-- reading after lock_timeout. Defaults, foreign keys and unique constraints are shown without opening anything.
-- Left out: system schemas, temporary and extension objects, columns of partitions, indexes and constraints that come from a
-- parent, triggers and functions that the server made itself, NOT NULL constraints (of columns: `not_null`).
-- rows
with locked as materialized (
    select distinct l.relation
    from pg_catalog.pg_locks l
    where l.locktype = 'relation'
        and l.mode = 'AccessExclusiveLock'
        and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
),
owned as materialized (
    select d.classid, d.objid
    from pg_catalog.pg_depend d
    where (d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')
        or (d.refclassid = 'pg_type'::regclass and d.deptype = 'i' and d.classid = 'pg_proc'::regclass)
),
spaces as materialized (
    select n.oid, n.nspname::text as name
    from pg_catalog.pg_namespace n
    where n.nspname not like 'pg#_%' escape '#' and n.nspname <> 'information_schema'
),
views_locked as materialized (
    select distinct r.ev_class as oid
    from locked k
    join pg_catalog.pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = k.relation
    join pg_catalog.pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
),
relations as materialized (
    select
        c.oid,
        n.name as schema,
        c.relname::text as name,
        c.relkind,
        c.relispartition,
        c.relpersistence,
        c.relrowsecurity,
        c.relforcerowsecurity,
        k.relation is not null as locked
    from pg_catalog.pg_class c
    join spaces n on n.oid = c.relnamespace
    left join locked k on k.relation = c.oid
    left join owned o on o.classid = 'pg_class'::regclass and o.objid = c.oid
    where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't' and o.objid is null
),
objects as (
    select
        case r.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
            when 'm' then 'materialized view' else 'foreign table' end as kind,
        r.schema,
        r.name as relation,
        r.name,
        r.oid,
        0 as position,
        '' as data_type,
        false as not_null,
        pg_catalog.concat_ws(', ',
            case when r.relpersistence = 'u' then 'unlogged' end,
            case when r.relispartition then 'partition' end,
            case when r.relrowsecurity then 'row security' end,
            case when r.relforcerowsecurity then 'row security forced' end) as flags,
        case
            when r.locked or v.oid is not null then null
            when r.relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(r.oid)
            when r.relkind = 'p' then pg_catalog.pg_get_partkeydef(r.oid)
        end as definition,
        '' as body_hash,
        r.relkind in ('v', 'm', 'p') and (r.locked or v.oid is not null) as skipped_locked
    from relations r
    left join views_locked v on v.oid = r.oid
    union all
    select
        'column',
        r.schema,
        r.name,
        a.attname::text,
        r.oid,
        a.attnum,
        pg_catalog.format_type(a.atttypid, a.atttypmod)
            || case when l.collname is null then '' else ' collate ' || pg_catalog.quote_ident(l.collname) end,
        a.attnotnull,
        pg_catalog.concat_ws(', ',
            case a.attidentity when 'a' then 'identity always' when 'd' then 'identity by default' end,
            case a.attgenerated when 's' then 'generated stored' when 'v' then 'generated virtual' end,
            case when not a.attislocal then 'inherited' end),
        case
            when a.attgenerated = '' then pg_catalog.pg_get_expr(d.adbin, 0)
            when not r.locked then pg_catalog.pg_get_expr(d.adbin, d.adrelid)
        end,
        '',
        a.attgenerated <> '' and r.locked
    from relations r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    join pg_catalog.pg_type t on t.oid = a.atttypid
    left join pg_catalog.pg_collation l on l.oid = a.attcollation and a.attcollation <> t.typcollation
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where not r.relispartition
    union all
    select
        case c.contype when 'f' then 'foreign key' else 'constraint' end,
        r.schema,
        r.name,
        c.conname::text,
        c.oid,
        0,
        '',
        false,
        pg_catalog.concat_ws(', ',
            case c.contype when 'p' then 'primary key' when 'u' then 'unique' when 'c' then 'check' when 'x' then 'exclude' end,
            case when not c.convalidated then 'not valid' end,
            case when c.condeferrable then 'deferrable' end,
            case when c.condeferred then 'initially deferred' end),
        case when c.contype not in ('c', 'x') or not r.locked then pg_catalog.pg_get_constraintdef(c.oid) end,
        '',
        c.contype in ('c', 'x') and r.locked
    from relations r
    join pg_catalog.pg_constraint c on c.conrelid = r.oid
    where c.contype in ('p', 'u', 'c', 'x', 'f') and c.conislocal and c.conparentid = 0
    union all
    select
        'constraint',
        n.name,
        t.typname::text,
        c.conname::text,
        c.oid,
        0,
        '',
        false,
        pg_catalog.concat_ws(', ', 'check', case when not c.convalidated then 'not valid' end),
        pg_catalog.pg_get_constraintdef(c.oid),
        '',
        false
    from pg_catalog.pg_constraint c
    join pg_catalog.pg_type t on t.oid = c.contypid
    join spaces n on n.oid = t.typnamespace
    left join owned o on o.classid = 'pg_type'::regclass and o.objid = t.oid
    where c.contypid <> 0 and c.contype = 'c' and o.objid is null
    union all
    select
        'index',
        r.schema,
        r.name,
        c.relname::text,
        c.oid,
        0,
        '',
        false,
        pg_catalog.concat_ws(', ',
            case when i.indisprimary then 'primary key' when i.indisunique then 'unique' end,
            case when not i.indisvalid then 'invalid' end,
            case when not i.indisready then 'not ready' end,
            case when i.indisclustered then 'clustered' end,
            case when i.indisreplident then 'replica identity' end),
        case when not r.locked then pg_catalog.pg_get_indexdef(c.oid) end,
        '',
        r.locked
    from relations r
    join pg_catalog.pg_index i on i.indrelid = r.oid
    join pg_catalog.pg_class c on c.oid = i.indexrelid
    where not c.relispartition
    union all
    select
        'trigger',
        r.schema,
        r.name,
        g.tgname::text,
        g.oid,
        0,
        '',
        false,
        case g.tgenabled when 'D' then 'disabled' when 'R' then 'enabled on replica' when 'A' then 'enabled always' else '' end,
        case when g.tgqual is null or not r.locked then pg_catalog.pg_get_triggerdef(g.oid) end,
        '',
        g.tgqual is not null and r.locked
    from relations r
    join pg_catalog.pg_trigger g on g.tgrelid = r.oid
    where not g.tgisinternal and g.tgparentid = 0
    union all
    select
        case p.prokind when 'f' then 'function' when 'p' then 'procedure' when 'a' then 'aggregate' else 'window function' end,
        n.name,
        '',
        p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
        p.oid,
        0,
        coalesce(pg_catalog.pg_get_function_result(p.oid), ''),
        false,
        pg_catalog.concat_ws(', ',
            'language ' || l.lanname,
            case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
            case when p.proisstrict then 'strict' end,
            case when p.prosecdef then 'security definer' end,
            case when p.proleakproof then 'leakproof' end,
            case p.proparallel when 's' then 'parallel safe' when 'r' then 'parallel restricted' end),
        null,
        pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
            pg_catalog.concat_ws(e'\n', p.prosrc, p.probin, p.proconfig::text), pg_catalog.getdatabaseencoding())), 'hex'), 32),
        false
    from pg_catalog.pg_proc p
    join spaces n on n.oid = p.pronamespace
    join pg_catalog.pg_language l on l.oid = p.prolang
    left join owned o on o.classid = 'pg_proc'::regclass and o.objid = p.oid
    where p.oid >= 16384 and o.objid is null
    union all
    select
        case t.typtype when 'e' then 'enum' when 'd' then 'domain' when 'c' then 'composite type' when 'r' then 'range type'
            else 'base type' end,
        n.name,
        '',
        t.typname::text,
        t.oid,
        0,
        case t.typtype
            when 'd' then pg_catalog.format_type(t.typbasetype, t.typtypmod)
            when 'r' then (select pg_catalog.format_type(g.rngsubtype, null) from pg_catalog.pg_range g where g.rngtypid = t.oid)
            else ''
        end,
        t.typnotnull,
        '',
        case t.typtype
            when 'd' then t.typdefault
            when 'e' then (
                select pg_catalog.string_agg(pg_catalog.quote_ident(e.enumlabel), ', ' order by e.enumsortorder)
                from pg_catalog.pg_enum e where e.enumtypid = t.oid)
            when 'c' then (
                select pg_catalog.string_agg(
                    pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
                from pg_catalog.pg_attribute a where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped)
        end,
        '',
        false
    from pg_catalog.pg_type t
    join spaces n on n.oid = t.typnamespace
    left join pg_catalog.pg_class c on c.oid = t.typrelid
    left join owned o on o.classid = 'pg_type'::regclass and o.objid = t.oid
    where t.oid >= 16384
        and t.typisdefined
        and o.objid is null
        and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'b' and t.typcategory <> 'A') or (t.typtype = 'c' and c.relkind = 'c'))
)
select
    o.kind,
    case when b.raw then pg_catalog.encode(pg_catalog.convert_to(o.schema, 'SQL_ASCII'), 'escape') else o.schema end as schema,
    case when b.raw then pg_catalog.encode(pg_catalog.convert_to(o.relation, 'SQL_ASCII'), 'escape') else o.relation end as relation,
    case when b.raw then pg_catalog.encode(pg_catalog.convert_to(o.name, 'SQL_ASCII'), 'escape') else o.name end as name,
    o.oid::bigint as oid,
    o.position::bigint as position,
    o.data_type,
    o.not_null,
    o.flags,
    o.definition,
    o.body_hash,
    o.skipped_locked
from objects o, (select pg_catalog.getdatabaseencoding() = 'SQL_ASCII' as raw) b;
