-- Call epochs orphaned, but for those that have ended or were named meanwhile.
-- $1 how many omissions are enough, $2 collectors, $3 epochs
update pganalytics.epochs e
set orphaned_at = now()
from unnest($2::text[], $3::bigint[]) as u (collector, epoch)
where (e.collector, e.epoch) = (u.collector, u.epoch) and not e.final and e.retired_at is null
    and e.omissions >= $1::double precision
