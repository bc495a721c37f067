-- Lock the batch's streams in key order; what is stored of them within the batch's window of seqs.
-- $1 collectors, $2 epochs, $3 lanes, $4 windows (multiranges)
select l.collector, l.epoch, l.lane, (l.stored * b.seqs::int8multirange)::text
from pganalytics.ledger l
join unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) as b (collector, epoch, lane, seqs)
    on (l.collector, l.epoch, l.lane) = (b.collector, b.epoch, b.lane)
order by l.collector, l.epoch, l.lane
for update of l
