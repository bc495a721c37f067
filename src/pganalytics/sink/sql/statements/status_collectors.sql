-- Each collector's newest heartbeat, its newest status of what cannot be read, and the worst coverage of its statements lately.
-- scope: store; cost: three index lookups per collector; needs the tables heartbeat, metric_status and statements
select c.collector, extract(epoch from now() - c.heartbeat_at)::float8, c.ended, h.agent, h.up, h.error, h.spool_records,
    h.spool_bytes, coalesce(s.unreadable, 0), coalesce(s.reason, ''), v.coverage
from (
    select distinct on (e.collector) e.collector, e.heartbeat_at, e.final or e.retired_at is not null as ended
    from pganalytics.epochs e
    where e.heartbeat_at is not null
    order by e.collector, e.heartbeat_at desc, e.epoch desc
) c
left join lateral (
    select b.agent, b.up, b.error, b.spool_records, b.spool_bytes
    from metrics.heartbeat b
    where b.collector = c.collector and b.collected_at >= c.heartbeat_at
    order by b.collected_at desc
    limit 1
) h on true
left join lateral (
    select
        (select count(*) from unnest(m.kind) k where k <> 'version') as unreadable,
        (select m.reason[k.n] from unnest(m.kind) with ordinality k (kind, n) where k.kind <> 'version' limit 1) as reason
    from metrics.metric_status m
    where m.collector = c.collector and m.collected_at > now() - interval '2 days'
    order by m.collected_at desc
    limit 1
) s on true
left join lateral (
    select min(t.coverage_time) as coverage
    from metrics.statements t
    where t.collector = c.collector and t.collected_at > now() - interval '15 minutes'
) v on true
order by c.collector
