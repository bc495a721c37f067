-- Make the rows that the batch will lock: an absent row does not lock. In key order, or two sinks deadlock on new keys.
-- $1 collectors, $2 epochs, $3 lanes: one element per stream
insert into pganalytics.ledger (collector, epoch, lane)
select s.collector, s.epoch, s.lane
from unnest($1::text[], $2::bigint[], $3::text[]) as s (collector, epoch, lane)
order by s.collector collate "C", s.epoch, s.lane collate "C"
on conflict do nothing
