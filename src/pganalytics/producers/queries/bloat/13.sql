-- Estimate of the space that tables and btree indexes could do without, from statistics alone.
-- scope: database
-- interval: 21600 s
-- timeout: 60 s
-- privilege: none (without SELECT on a table, as pg_read_all_data has it from PostgreSQL 14, only columns of fixed width are known)
-- server: 13
-- Opens no relation and waits for no lock. `pages` and `tuples` are those of the last vacuum or ANALYZE.
-- Method: pages as the manual describes them (chapters Database Page Layout and B-Tree Indexes), filled with rows of average width
-- (pg_stats: avg_width, null_frac). A page has a header of 24 bytes, and in a btree 16 at its end and a high key; a row has a pointer
-- of 4 bytes, a header of 23 (index entry: 8) and, when there are NULLs, a bitmap of them, padded to 8 bytes. A column is padded to
-- its alignment: behind columns of fixed width as far as they are long, behind others by half of it on average; a value of variable
-- width below 127 bytes is not padded. The row is padded to 8 bytes, by 3.5 on average when rows differ. A btree has a metapage and
-- inner pages, filled to 70 percent. Fillfactors are those of the options.
-- Equal keys of an index of one column share an entry with 6 bytes per row, up to 132 of them, if the type allows it
-- (deduplication). In an index of several columns nobody knows how many keys are equal, and long values may be compressed: then
-- bloat is told too low. Partial indexes are taken to have no NULLs.
-- context
select pg_catalog.current_setting('block_size')::bigint as block_size;
-- rows
with stats as materialized (
    select s.schemaname, s.tablename, s.attname, s.null_frac, s.avg_width, s.n_distinct
    from pg_catalog.pg_stats s
    where not s.inherited
),
relations as materialized (
    select
        c.oid,
        c.relname,
        n.nspname,
        c.relkind = 'i' as is_index,
        c.relpages::float8 as pages,
        case when c.reltuples >= 0 and (c.relpages > 0 or c.reltuples > 0 or greatest(
                pg_catalog.pg_stat_get_last_vacuum_time(c.oid), pg_catalog.pg_stat_get_last_autovacuum_time(c.oid),
                pg_catalog.pg_stat_get_last_analyze_time(c.oid), pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)) is not null)
            then least(c.reltuples, 9e15::float8) end as tuples,
        c.relrowsecurity or coalesce(t.relrowsecurity, false) as secured,
        t.oid as of_oid,
        t.relname as of_table,
        case when i.indexrelid is null then c.reltuples else t.reltuples end as rows_of_table,
        i.indpred is not null as is_partial,
        i.indkey,
        coalesce((
            select pg_catalog.split_part(o.option, '=', 2)::float8
            from pg_catalog.unnest(c.reloptions) as o (option)
            where o.option like 'fillfactor=%'), case c.relkind when 'i' then 90 else 100 end) as fillfactor,
        i.indnatts = 1
            and not i.indisunique
            and coalesce((
                select pg_catalog.split_part(o.option, '=', 2)::boolean
                from pg_catalog.unnest(c.reloptions) as o (option)
                where o.option like 'deduplicate#_items=%' escape '#'), true)
            and exists (
                select
                from pg_catalog.pg_opclass p
                join pg_catalog.pg_amproc f on f.amprocfamily = p.opcfamily
                where p.oid = i.indclass[0] and f.amproclefttype = p.opcintype and f.amprocrighttype = p.opcintype and f.amprocnum = 4
            ) as shares
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_index i on i.indexrelid = c.oid
    left join pg_catalog.pg_class t on t.oid = i.indrelid
    where c.oid >= 16384
        and c.relpersistence <> 't'
        and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
        and (c.relkind in ('r', 'm') or (c.relkind = 'i' and c.relam = (select m.oid from pg_catalog.pg_am m where m.amname = 'btree')))
),
columns as (
    select
        r.oid,
        a.attnum,
        a.attlen < 0 as varies,
        case a.attalign when 'd' then 8 when 'i' then 4 when 's' then 2 else 1 end as align,
        case when a.attlen < 0 then s.avg_width else a.attlen end::float8 as width,
        case when r.is_partial then 0 else coalesce(s.null_frac, 0) end::float8 as null_frac,
        s.n_distinct,
        s.attname is not null as known,
        pg_catalog.count(*) filter (where a.attalign = 'd') over before as stretch,
        case when a.attlen < 0 and s.attname is null then
            not pg_catalog.has_column_privilege(coalesce(k.attrelid, r.oid), coalesce(k.attnum, a.attnum), 'select')
            or (r.secured and pg_catalog.row_security_active(coalesce(r.of_oid, r.oid)))
        end as hidden
    from relations r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    left join pg_catalog.pg_attribute k on k.attrelid = r.of_oid and k.attnum = r.indkey[a.attnum - 1]
    left join stats s on s.schemaname = r.nspname
        and s.tablename = case when k.attnum is null then r.relname else r.of_table end
        and s.attname = coalesce(k.attname, a.attname)
    window before as (partition by r.oid order by a.attnum)
),
padded as (
    select
        c.*,
        (1 - c.null_frac) * (c.width + case
            when c.varies and c.width < 127 then 0
            when pg_catalog.bool_or(c.varies) over before then (c.align - 1) / 2.0
            else (c.align - coalesce(pg_catalog.sum(c.width) over (
                partition by c.oid, c.stretch - (c.align = 8)::int order by c.attnum rows between unbounded preceding and 1 preceding
            ), 0)::bigint % c.align) % c.align
        end) as bytes
    from columns c
    window before as (partition by c.oid order by c.attnum rows between unbounded preceding and 1 preceding)
),
rows as (
    select
        p.oid,
        pg_catalog.count(*) filter (where p.width is null) as unknown,
        coalesce(pg_catalog.bool_or(p.hidden), false) as hidden,
        pg_catalog.bool_or(p.known) as by_statistics,
        pg_catalog.sum(p.bytes) as data,
        pg_catalog.bool_or(p.varies or (p.null_frac > 0 and p.null_frac < 1)) as varies,
        pg_catalog.max(p.null_frac) as nulls,
        pg_catalog.max(p.attnum) as columns,
        pg_catalog.max(p.n_distinct) as keys
    from padded p
    group by p.oid
),
sized as (
    select
        r.*,
        w.hidden,
        w.by_statistics,
        w.keys,
        w.nulls,
        b.block_size,
        b.block_size * r.fillfactor / 100 - 24 - case when r.is_index then 16 else 0 end as room,
        coalesce(w.varies, false) as varies,
        case when coalesce(w.unknown, 0) = 0 then
            case when r.is_index then 8 + 8 * coalesce(w.nulls, 0)
                else 24 + coalesce(w.nulls, 0) * (8 * pg_catalog.ceil((23 + pg_catalog.ceil(coalesce(w.columns, 0) / 8.0)) / 8) - 24) end
            + case when w.varies then w.data + 3.5 else 8 * pg_catalog.ceil(coalesce(w.data, 0) / 8) end
            + 4
        end::float8 as entry
    from relations r
    left join rows w on w.oid = r.oid
    cross join (select pg_catalog.current_setting('block_size')::float8 as block_size) b
),
filled as (
    select
        s.*,
        case
            when s.tuples is null or s.entry is null then null
            when s.is_index then pg_catalog.ceil(
                case when s.shares and (s.keys <> 0 or s.nulls = 1) then s.tuples * s.nulls * 6 + least(
                    k.entries * s.entry,
                    k.entries * 6 + k.keys * pg_catalog.ceil(k.entries / k.keys / 132) * (s.entry + 3.5))
                else s.tuples * s.entry end / greatest(s.room - s.entry, s.entry))
            when s.varies then pg_catalog.ceil(s.tuples * s.entry / greatest(s.room - s.entry / 2, s.entry))
            else pg_catalog.ceil(s.tuples / greatest(pg_catalog.floor(s.room / s.entry), 1))
        end as full_pages
    from sized s
    cross join lateral (select
        s.tuples * (1 - s.nulls) as entries,
        greatest(least(case when s.keys < 0 then - s.keys * s.rows_of_table else s.keys end, s.tuples * (1 - s.nulls)), 1) as keys) k
),
expected as (
    select
        f.*,
        f.full_pages + case when f.is_index
            then 1 + case when f.full_pages > 1 then pg_catalog.ceil(f.full_pages * f.entry / (f.block_size * 0.7 - 40)) else 0 end
            else 0 end as expected_pages
    from filled f
)
select
    e.oid::bigint as relid,
    e.is_index,
    case when e.expected_pages is null then '' when e.by_statistics then 'statistics' else 'types' end as method,
    case
        when e.expected_pages is not null then ''
        when e.tuples is null then 'never analyzed'
        when e.hidden then 'statistics not readable'
        else 'no statistics'
    end as not_estimated,
    e.pages::bigint as pages,
    e.tuples::bigint as tuples,
    pg_catalog.round(e.entry)::bigint as tuple_bytes,
    case when e.expected_pages < 9e15 then e.expected_pages::bigint end as expected_pages,
    case when e.expected_pages is not null then (greatest(e.pages - e.expected_pages, 0) * e.block_size)::bigint end as bloat_bytes
from expected e;
