-- The events are sent. $1 collectors, $2 epochs
update pganalytics.epochs e
set rolled_back = true
from unnest($1::text[], $2::bigint[]) as u (collector, epoch)
where (e.collector, e.epoch) = (u.collector, u.epoch)
