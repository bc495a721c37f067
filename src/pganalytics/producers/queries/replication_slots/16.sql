-- pg_replication_slots: a row per slot, with what it holds back.
-- scope: instance
-- interval: 60 s
-- timeout: 5 s
-- privilege: none
-- server: 16
-- context
select
    pg_catalog.pg_is_in_recovery() as in_recovery,
    (case when pg_catalog.pg_is_in_recovery()
        then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        else pg_catalog.pg_current_wal_lsn()
    end - '0/0'::pg_lsn)::bigint as wal_position;
-- rows
select
    s.slot_name::text as slot_name,
    s.plugin::text as plugin,
    s.slot_type,
    s.datoid::bigint as datoid,
    s.database::text as datname,
    s.temporary,
    s.active,
    s.active_pid::bigint as active_pid,
    pg_catalog.age(s.xmin)::bigint as xmin_age,
    pg_catalog.age(s.catalog_xmin)::bigint as catalog_xmin_age,
    (e.lsn - s.restart_lsn)::bigint as retained_bytes,
    (e.lsn - s.confirmed_flush_lsn)::bigint as unconfirmed_bytes,
    (s.restart_lsn - '0/0'::pg_lsn)::bigint as restart_position,
    (s.confirmed_flush_lsn - '0/0'::pg_lsn)::bigint as confirmed_flush_position,
    s.wal_status,
    s.safe_wal_size,
    s.two_phase,
    coalesce(s.conflicting, false) as conflicting
from pg_catalog.pg_replication_slots s
cross join
    (select case when pg_catalog.pg_is_in_recovery()
        then greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
        else pg_catalog.pg_current_wal_lsn()
    end as lsn) e;
