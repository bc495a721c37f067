-- Epochs that have not ended and that listings leave out again and again. $1 how often is enough; $2 collectors, or null for all
select e.collector, e.epoch, e.spool_id, e.heartbeat_at, e.omitted_from
from pganalytics.epochs e
where not e.final and e.orphaned_at is null and e.retired_at is null and e.omissions >= $1::double precision
    and ($2::text[] is null or e.collector = any ($2::text[]))
