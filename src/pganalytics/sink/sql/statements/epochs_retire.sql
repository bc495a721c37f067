-- Nothing of these will follow, by an operator's word. $1 the collector, $2 epochs
update pganalytics.epochs e
set retired_at = now()
where e.collector = $1::text and e.epoch = any ($2::bigint[]) and not e.final
