-- Each collector by what heartbeats say of its epochs alone: while a table that status_collectors reads is not made yet.
select distinct on (e.collector) e.collector, extract(epoch from now() - e.heartbeat_at)::float8,
    e.final or e.retired_at is not null, ''::text, null::boolean, ''::text, 0::bigint, 0::bigint, 0::bigint, ''::text, null::float8
from pganalytics.epochs e
where e.heartbeat_at is not null
order by e.collector, e.heartbeat_at desc, e.epoch desc
