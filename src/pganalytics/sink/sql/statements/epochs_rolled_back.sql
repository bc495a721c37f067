-- Epochs of which more is known than their final heartbeat said, that nobody has been told of. cost: reads the ledger once
select l.collector, l.epoch, l.lane, f.highest + 1, l.emitted
from pganalytics.epochs e
join pganalytics.ledger l using (collector, epoch)
cross join lateral (
    select case l.lane when 'critical' then e.final_critical when 'normal' then e.final_normal else e.final_bulk end as highest
) f
where e.final and not e.rolled_back and l.emitted > f.highest
order by l.collector, l.epoch, l.lane
