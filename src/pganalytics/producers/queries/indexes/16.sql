-- Counters of the indexes of user tables and of their toast tables, from pg_index, pg_class and the statistics functions.
-- scope: database
-- interval: 300 s
-- timeout: 20 s
-- privilege: none
-- server: 16
-- Opens no relation and waits for no lock. Indexes of system schemas and of temporary tables are left out, partitioned ones (they
-- have no storage), and those of toast tables that were never used.
-- `crash`: when a crash discarded all statistics (it alone gives background writer and archiver one time); else NULL.
-- `lineage` is that too, not the database's own time of reset: that one moves when a single relation is reset.
-- Constants are quoted, to have the type of what they meet: for another type a new connection looks at all operators of the name.
-- context
select
    (extract(epoch from pg_catalog.clock_timestamp()) * '1000000')::bigint as server_time,
    (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * '1000000')::bigint as postmaster_start,
    (extract(epoch from x.crash) * '1000000')::bigint as crash,
    (extract(epoch from x.crash) * '1000000')::bigint as lineage,
    (extract(epoch from pg_catalog.pg_stat_get_db_stat_reset_time(d.oid)) * '1000000')::bigint as stats_reset
from pg_catalog.pg_database d,
    (select case when b = a.stats_reset then b end
        from pg_catalog.pg_stat_get_bgwriter_stat_reset_time() b, pg_catalog.pg_stat_get_archiver() a) x (crash)
where d.datname = pg_catalog.current_database();
-- rows
select
    i.indexrelid::bigint as indexrelid,
    i.indrelid::bigint as relid,
    pg_catalog.pg_stat_get_numscans(i.indexrelid) as idx_scan,
    (extract(epoch from pg_catalog.pg_stat_get_lastscan(i.indexrelid)) * '1000000')::bigint as last_idx_scan,
    pg_catalog.pg_stat_get_tuples_returned(i.indexrelid) as idx_tup_read,
    pg_catalog.pg_stat_get_tuples_fetched(i.indexrelid) as idx_tup_fetch,
    pg_catalog.pg_stat_get_blocks_fetched(i.indexrelid) - pg_catalog.pg_stat_get_blocks_hit(i.indexrelid) as idx_blks_read,
    pg_catalog.pg_stat_get_blocks_hit(i.indexrelid) as idx_blks_hit,
    c.relpages::bigint as relpages,
    i.indisvalid as is_valid,
    i.indisunique as is_unique,
    i.indisprimary as is_primary
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indexrelid >= '16384'
    and c.relkind = 'i'
    and c.relpersistence <> 't'
    and c.relnamespace <> all (array(
        select n.oid from pg_catalog.pg_namespace n where n.nspname in ('pg_catalog', 'information_schema')))
    and (c.relnamespace <> 'pg_toast'::regnamespace
        or pg_catalog.pg_stat_get_blocks_fetched(i.indexrelid) > 0
        or pg_catalog.pg_stat_get_numscans(i.indexrelid) > 0);
