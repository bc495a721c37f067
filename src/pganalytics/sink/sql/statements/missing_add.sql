-- Holes that no full pass has found; the rows are locked. What was settled meanwhile is not missing.
-- $1 collectors, $2 epochs, $3 lanes, $4 seqs (multiranges)
update pganalytics.ledger l
set missing = l.missing + (b.seqs::int8multirange - l.stored - l.dead - l.shed),
    deferred = l.deferred - b.seqs::int8multirange
from unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) as b (collector, epoch, lane, seqs)
where (l.collector, l.epoch, l.lane) = (b.collector, b.epoch, b.lane)
