-- pg_stat_database and the ages of its databases: a row per database and one for shared objects.
-- scope: instance
-- interval: 60 s
-- timeout: 10 s
-- privilege: none
-- server: 13
-- `crash`: when a crash discarded all statistics (it alone gives these two views one time); NULL when that cannot be told.
-- `lineage`: since when the statistics exist.
-- context
select x.*, x.crash as lineage
from (select
    (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint as server_time,
    (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint as postmaster_start,
    (select (extract(epoch from b.stats_reset) * 1000000)::bigint
        from pg_catalog.pg_stat_bgwriter b, pg_catalog.pg_stat_archiver a where b.stats_reset = a.stats_reset) as crash) x;
-- rows
select
    s.datid::bigint as datid,
    s.datname::text as datname,
    coalesce(s.numbackends, 0)::bigint as numbackends,
    s.xact_commit,
    s.xact_rollback,
    s.blks_read,
    s.blks_hit,
    s.tup_returned,
    s.tup_fetched,
    s.tup_inserted,
    s.tup_updated,
    s.tup_deleted,
    s.conflicts,
    s.temp_files,
    s.temp_bytes,
    s.deadlocks,
    s.checksum_failures,
    (extract(epoch from s.checksum_last_failure) * 1000000)::bigint as checksum_last_failure,
    case when s.blk_read_time < 9e12 then pg_catalog.round(s.blk_read_time * 1000000)::bigint end as blk_read_time,
    case when s.blk_write_time < 9e12 then pg_catalog.round(s.blk_write_time * 1000000)::bigint end as blk_write_time,
    (extract(epoch from s.stats_reset) * 1000000)::bigint as stats_reset,
    pg_catalog.age(d.datfrozenxid)::bigint as xid_age,
    pg_catalog.mxid_age(d.datminmxid)::bigint as multixact_age
from pg_catalog.pg_stat_database s
left join pg_catalog.pg_database d on d.oid = s.datid;
