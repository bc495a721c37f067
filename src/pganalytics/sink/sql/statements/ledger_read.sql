-- The ledger, for the deep audit; of an epoch that has ended nothing is unsent. $1 a collector, or null for all
select l.collector, l.epoch, l.lane, l.stored::text, l.dead::text, l.shed::text, l.missing::text, l.deferred::text,
    case when e.final or e.retired_at is not null then l.sent + int8multirange(int8range(1, l.emitted + 1)) else l.sent end::text,
    l.emitted
from pganalytics.ledger l
left join pganalytics.epochs e using (collector, epoch)
where $1::text is null or l.collector = $1::text
