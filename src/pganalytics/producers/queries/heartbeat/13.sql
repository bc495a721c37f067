-- The state of the server, for the collector's sign of life. One row, no counters.
-- scope: instance
-- interval: 30 s
-- timeout: 5 s
-- privilege: none (without pg_read_all_stats other users' transactions and xmins stay hidden)
-- server: 13
-- rows
select
    (extract(epoch from pg_catalog.clock_timestamp()) * 1000000)::bigint as server_time,
    case when pg_catalog.pg_is_in_recovery() then 'standby' else 'primary' end as role,
    (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
    pg_catalog.current_setting('server_version_num')::bigint as server_version,
    -- A new primary has its timeline before its first checkpoint; a standby follows one before its next restartpoint.
    case when pg_catalog.pg_is_in_recovery()
        then greatest(
            (select c.timeline_id from pg_catalog.pg_control_checkpoint() c),
            (select c.min_recovery_end_timeline from pg_catalog.pg_control_recovery() c),
            (select w.received_tli from pg_catalog.pg_stat_wal_receiver w))::bigint
        else ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::bigint
    end as timeline,
    (extract(epoch from pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint as postmaster_start,
    a.connections,
    pg_catalog.current_setting('max_connections')::bigint as max_connections,
    a.oldest_transaction,
    greatest(a.oldest_xmin, s.oldest_xmin, p.oldest_xmin)::bigint as oldest_xmin_age,
    d.xid_left,
    d.multixact_left
from
    (select
        pg_catalog.count(*) filter (where backend_type = 'client backend' or (backend_type is null and datid is not null)) as connections,
        greatest((extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.min(xact_start)
            filter (where pid <> pg_catalog.pg_backend_pid())) * 1000000)::bigint, 0) as oldest_transaction,
        pg_catalog.max(pg_catalog.age(backend_xmin)) filter (where pid <> pg_catalog.pg_backend_pid()) as oldest_xmin
    from pg_catalog.pg_stat_activity) a,
    (select pg_catalog.max(greatest(pg_catalog.age(xmin), pg_catalog.age(catalog_xmin))) as oldest_xmin
    from pg_catalog.pg_replication_slots) s,
    (select pg_catalog.max(pg_catalog.age(transaction)) as oldest_xmin from pg_catalog.pg_prepared_xacts) p,
    (select
        2147483648 - pg_catalog.max(pg_catalog.age(datfrozenxid))::bigint as xid_left,
        2147483648 - pg_catalog.max(pg_catalog.mxid_age(datminmxid))::bigint as multixact_left
    from pg_catalog.pg_database) d;
