-- Names for OIDs: relations of users, with kind, owner, parent and storage.
-- scope: database
-- interval: 3600 s
-- timeout: 30 s
-- privilege: none
-- server: 13
-- Opens no relation and waits for no lock: a bound has no columns in it, so it is shown without looking at its table.
-- System schemas and temporary relations are left out, and row types.
-- rows
select
    c.oid::bigint as relid,
    n.nspname::text as schema,
    c.relname::text as name,
    case c.relkind
        when 'r' then 'table' when 'p' then 'partitioned table' when 'i' then 'index' when 'I' then 'partitioned index'
        when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' when 'f' then 'foreign table'
        else 'toast table' end as kind,
    pg_catalog.pg_get_userbyid(c.relowner)::text as owner,
    coalesce(i.indrelid, p.oid, h.inhparent, 0)::bigint as parent,
    c.relispartition as is_partition,
    case k.partstrat when 'r' then 'range' when 'l' then 'list' when 'h' then 'hash' else '' end as partition_strategy,
    pg_catalog.pg_get_expr(c.relpartbound, 0) as partition_bound,
    case c.relpersistence when 'u' then 'unlogged' else 'permanent' end as persistence,
    coalesce(t.spcname::text, '') as tablespace,
    coalesce(m.amname::text, '') as access_method,
    coalesce(pg_catalog.array_to_string(c.reloptions, ', '), '') as options
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_index i on i.indexrelid = c.oid
left join pg_catalog.pg_class p on p.reltoastrelid = c.oid and c.relkind = 't' and p.reltoastrelid <> 0
left join pg_catalog.pg_inherits h on h.inhrelid = c.oid and h.inhseqno = 1
left join pg_catalog.pg_partitioned_table k on k.partrelid = c.oid
left join pg_catalog.pg_tablespace t on t.oid = c.reltablespace
left join pg_catalog.pg_am m on m.oid = c.relam
where c.oid >= 16384
    and c.relkind in ('r', 'p', 'i', 'I', 'v', 'm', 'S', 'f', 't')
    and c.relpersistence <> 't'
    and n.nspname not in ('pg_catalog', 'information_schema');
