-- pg_stat_replication: a row per process that sends WAL. Lags in bytes are measured from the end of the server's own WAL.
-- scope: instance
-- interval: 30 s
-- timeout: 5 s
-- privilege: pg_read_all_stats (without it all but the process ids is hidden)
-- server: 13
-- context
select
    pg_catalog.pg_is_in_recovery() as in_recovery,
    (case when pg_catalog.pg_is_in_recovery()
        then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        else pg_catalog.pg_current_wal_lsn()
    end - '0/0'::pg_lsn)::bigint as wal_position;
-- rows
select
    r.pid::bigint as pid,
    s.slot_name::text as slot_name,
    r.usename::text as usename,
    r.application_name,
    pg_catalog.host(r.client_addr) as client_addr,
    r.client_hostname,
    r.client_port::bigint as client_port,
    (extract(epoch from r.backend_start) * 1000000)::bigint as backend_start,
    pg_catalog.age(r.backend_xmin)::bigint as backend_xmin_age,
    r.state,
    r.sync_state,
    r.sync_priority::bigint as sync_priority,
    (e.lsn - r.sent_lsn)::bigint as sent_lag_bytes,
    (e.lsn - r.write_lsn)::bigint as write_lag_bytes,
    (e.lsn - r.flush_lsn)::bigint as flush_lag_bytes,
    (e.lsn - r.replay_lsn)::bigint as replay_lag_bytes,
    (extract(epoch from r.write_lag) * 1000000)::bigint as write_lag,
    (extract(epoch from r.flush_lag) * 1000000)::bigint as flush_lag,
    (extract(epoch from r.replay_lag) * 1000000)::bigint as replay_lag,
    (extract(epoch from r.reply_time) * 1000000)::bigint as reply_time
from pg_catalog.pg_stat_replication r
cross join
    (select case when pg_catalog.pg_is_in_recovery()
        then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        else pg_catalog.pg_current_wal_lsn()
    end as lsn) e
left join pg_catalog.pg_replication_slots s on s.active_pid = r.pid;
