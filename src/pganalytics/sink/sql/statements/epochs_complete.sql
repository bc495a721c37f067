-- Epochs that only records tell of: the agent was gone before its first heartbeat, or that one is still on its way.
insert into pganalytics.epochs (collector, epoch)
select distinct l.collector, l.epoch
from pganalytics.ledger l
where not exists (select from pganalytics.epochs e where (e.collector, e.epoch) = (l.collector, l.epoch))
on conflict do nothing
