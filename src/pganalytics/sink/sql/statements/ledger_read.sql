-- The ledger, for the deep audit. $1 a collector, or null for all
select l.collector, l.epoch, l.lane, l.stored::text, l.dead::text, l.shed::text, l.missing::text, l.deferred::text,
    l.sent::text, l.emitted
from pganalytics.ledger l
where $1::text is null or l.collector = $1::text
