-- Counters and upkeep of user tables, materialized views and their toast tables, from pg_class and the statistics functions.
-- scope: database
-- interval: 300 s
-- timeout: 20 s
-- privilege: none
-- server: 18
-- Opens no relation and waits for no lock. System schemas and temporary tables are left out, and toast tables that were never used.
-- Toast tables and indexes are not summed into the row of their table: they are dropped and made anew on their own (DROP INDEX,
-- ALTER TABLE that rewrites), a sum would go back, and a row that goes back counts as begun anew.
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
    c.oid::bigint as relid,
    coalesce(p.oid, '0')::bigint as toast_of,
    pg_catalog.pg_stat_get_numscans(c.oid) as seq_scan,
    (extract(epoch from pg_catalog.pg_stat_get_lastscan(c.oid)) * '1000000')::bigint as last_seq_scan,
    pg_catalog.pg_stat_get_tuples_returned(c.oid) as seq_tup_read,
    pg_catalog.pg_stat_get_tuples_fetched(c.oid) as heap_tup_fetch,
    pg_catalog.pg_stat_get_tuples_inserted(c.oid) as n_tup_ins,
    pg_catalog.pg_stat_get_tuples_updated(c.oid) as n_tup_upd,
    pg_catalog.pg_stat_get_tuples_deleted(c.oid) as n_tup_del,
    pg_catalog.pg_stat_get_tuples_hot_updated(c.oid) as n_tup_hot_upd,
    pg_catalog.pg_stat_get_tuples_newpage_updated(c.oid) as n_tup_newpage_upd,
    pg_catalog.pg_stat_get_blocks_fetched(c.oid) - pg_catalog.pg_stat_get_blocks_hit(c.oid) as heap_blks_read,
    pg_catalog.pg_stat_get_blocks_hit(c.oid) as heap_blks_hit,
    pg_catalog.pg_stat_get_vacuum_count(c.oid) as vacuum_count,
    pg_catalog.pg_stat_get_autovacuum_count(c.oid) as autovacuum_count,
    pg_catalog.pg_stat_get_analyze_count(c.oid) as analyze_count,
    pg_catalog.pg_stat_get_autoanalyze_count(c.oid) as autoanalyze_count,
    case when pg_catalog.pg_stat_get_total_vacuum_time(c.oid) < '9e12'
        then pg_catalog.round(pg_catalog.pg_stat_get_total_vacuum_time(c.oid) * '1000000')::bigint end as total_vacuum_time,
    case when pg_catalog.pg_stat_get_total_autovacuum_time(c.oid) < '9e12'
        then pg_catalog.round(pg_catalog.pg_stat_get_total_autovacuum_time(c.oid) * '1000000')::bigint end as total_autovacuum_time,
    case when pg_catalog.pg_stat_get_total_analyze_time(c.oid) < '9e12'
        then pg_catalog.round(pg_catalog.pg_stat_get_total_analyze_time(c.oid) * '1000000')::bigint end as total_analyze_time,
    case when pg_catalog.pg_stat_get_total_autoanalyze_time(c.oid) < '9e12'
        then pg_catalog.round(pg_catalog.pg_stat_get_total_autoanalyze_time(c.oid) * '1000000')::bigint end as total_autoanalyze_time,
    (extract(epoch from pg_catalog.pg_stat_get_last_vacuum_time(c.oid)) * '1000000')::bigint as last_vacuum,
    (extract(epoch from pg_catalog.pg_stat_get_last_autovacuum_time(c.oid)) * '1000000')::bigint as last_autovacuum,
    (extract(epoch from pg_catalog.pg_stat_get_last_analyze_time(c.oid)) * '1000000')::bigint as last_analyze,
    (extract(epoch from pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)) * '1000000')::bigint as last_autoanalyze,
    pg_catalog.pg_stat_get_live_tuples(c.oid) as n_live_tup,
    pg_catalog.pg_stat_get_dead_tuples(c.oid) as n_dead_tup,
    pg_catalog.pg_stat_get_mod_since_analyze(c.oid) as n_mod_since_analyze,
    pg_catalog.pg_stat_get_ins_since_vacuum(c.oid) as n_ins_since_vacuum,
    greatest(c.relpages, 0)::bigint as relpages,
    case when c.reltuples >= '0' then least(c.reltuples, '9e18')::bigint end as reltuples,
    c.relallvisible::bigint as relallvisible,
    c.relallfrozen::bigint as relallfrozen,
    case when c.relfrozenxid <> '0' then pg_catalog.age(c.relfrozenxid)::bigint end as xid_age,
    case when c.relminmxid <> '0' then pg_catalog.mxid_age(c.relminmxid)::bigint end as multixact_age
from pg_catalog.pg_class c
left join pg_catalog.pg_class p on p.reltoastrelid = c.oid and c.relkind = 't' and p.reltoastrelid <> '0'
where c.oid >= '16384'
    and c.relkind in ('r', 'm', 'p', 't')
    and c.relpersistence <> 't'
    and coalesce(p.relnamespace, c.relnamespace) <> all (array(
        select n.oid from pg_catalog.pg_namespace n where n.nspname in ('pg_catalog', 'information_schema')))
    and (c.relkind <> 't' or (p.oid is not null and (
        pg_catalog.pg_stat_get_blocks_fetched(c.oid) > 0
        or pg_catalog.pg_stat_get_tuples_inserted(c.oid) > 0
        or pg_catalog.pg_stat_get_vacuum_count(c.oid) + pg_catalog.pg_stat_get_autovacuum_count(c.oid) > 0)));
