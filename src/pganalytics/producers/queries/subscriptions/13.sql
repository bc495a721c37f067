-- pg_stat_subscription, of all databases: a row per worker, and one for a subscription without any; errors beside it.
-- scope: instance
-- interval: 60 s
-- timeout: 5 s
-- privilege: none
-- server: 13
-- rows
select
    s.subid::bigint as subid,
    coalesce(s.pid, 0)::bigint as pid,
    coalesce(s.relid, 0)::bigint as relid,
    s.subname::text as subname,
    case when c.subscriptions = 1 then c.datname end as datname,
    c.enabled,
    (s.received_lsn - '0/0'::pg_lsn)::bigint as received_position,
    (s.latest_end_lsn - '0/0'::pg_lsn)::bigint as latest_end_position,
    (s.received_lsn - s.latest_end_lsn)::bigint as unreported_bytes,
    (extract(epoch from s.last_msg_send_time) * 1000000)::bigint as last_msg_send_time,
    (extract(epoch from s.last_msg_receipt_time) * 1000000)::bigint as last_msg_receipt_time,
    (extract(epoch from s.latest_end_time) * 1000000)::bigint as latest_end_time
from pg_catalog.pg_stat_subscription s
left join (
    -- The oid of a subscription may not be read before PostgreSQL 14, and names are unique in one database only.
    select u.subname, pg_catalog.count(*) as subscriptions, pg_catalog.bool_and(u.subenabled) as enabled, pg_catalog.min(d.datname::text) as datname
    from pg_catalog.pg_subscription u
    join pg_catalog.pg_database d on d.oid = u.subdbid
    group by 1
) c on c.subname = s.subname;
-- group errors
select 0::bigint as error_subid
where false;
