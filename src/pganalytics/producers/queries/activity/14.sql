-- Sessions counted by what they do; open transactions older than `listed_age_s` seconds one by one, the 100 oldest.
-- scope: instance
-- interval: 30 s
-- timeout: 5 s
-- privilege: pg_read_all_stats (without it other users' sessions are hidden)
-- server: 14
-- A text of another database may be invalid in the encoding of this one: it is cut by its bytes, since a function that looks at
-- characters would fail, and with it the whole reading. Of a text that is cut, bytes that are not ASCII are octal numbers.
\set listed_age_s 60
-- context
select
    :listed_age_s::bigint * 1000000 as listed_age,
    pg_catalog.count(*) as sessions_total,
    pg_catalog.count(*) filter (where a.xact_start < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => :listed_age_s))
        as transactions_total
from pg_catalog.pg_stat_activity a
where a.pid <> pg_catalog.pg_backend_pid();
-- rows
select
    coalesce(a.datid, 0)::bigint as datid,
    a.datname::text as datname,
    a.usename::text as usename,
    a.application_name as application_name,
    a.backend_type,
    a.state,
    a.wait_event_type,
    a.wait_event,
    pg_catalog.count(*) as sessions,
    (extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.min(a.xact_start)) * 1000000)::bigint as longest_transaction,
    (extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.min(a.query_start) filter (where a.state = 'active'))
        * 1000000)::bigint as longest_query,
    (extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.min(a.state_change)) * 1000000)::bigint as longest_state
from pg_catalog.pg_stat_activity a
where a.pid <> pg_catalog.pg_backend_pid()
group by 1, 2, 3, 4, 5, 6, 7, 8;
-- group transactions
select
    a.pid::bigint as tx_pid,
    (extract(epoch from a.backend_start) * 1000000)::bigint as tx_backend_start,
    a.datname::text as tx_datname,
    a.usename::text as tx_usename,
    a.application_name as tx_application_name,
    pg_catalog.host(a.client_addr) as tx_client_addr,
    a.backend_type as tx_backend_type,
    a.state as tx_state,
    a.wait_event_type as tx_wait_event_type,
    a.wait_event as tx_wait_event,
    (extract(epoch from a.xact_start) * 1000000)::bigint as tx_xact_start,
    (extract(epoch from a.query_start) * 1000000)::bigint as tx_query_start,
    (extract(epoch from a.state_change) * 1000000)::bigint as tx_state_change,
    a.backend_xid is not null as tx_has_xid,
    pg_catalog.age(a.backend_xmin)::bigint as tx_xmin_age,
    a.query_id as tx_query_id,
    case when pg_catalog.octet_length(a.query) <= 100000 then a.query
        else pg_catalog.encode(pg_catalog.substring(pg_catalog.textsend(a.query), 1, 100000), 'escape') end as tx_query
from pg_catalog.pg_stat_activity a
where a.pid <> pg_catalog.pg_backend_pid()
    and a.xact_start < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => :listed_age_s)
order by a.xact_start, a.pid
limit 100;
