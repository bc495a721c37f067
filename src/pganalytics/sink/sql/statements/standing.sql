-- The whole ledger by what became of records, and epochs whose spool is gone and that nobody has retired.
-- scope: store; cost: reads the ledger and the open epochs once
select t.stored, t.dead, t.shed, t.missing, t.emitted - t.stored - t.dead - t.shed - t.missing as under_way, o.orphaned
from (
    select coalesce(sum(l.emitted), 0) as emitted,
        coalesce(sum((select sum(upper(r) - lower(r)) from unnest(l.stored) r)), 0) as stored,
        coalesce(sum((select sum(upper(r) - lower(r)) from unnest(l.dead) r)), 0) as dead,
        coalesce(sum((select sum(upper(r) - lower(r)) from unnest(l.shed) r)), 0) as shed,
        coalesce(sum((select sum(upper(r) - lower(r)) from unnest(l.missing) r)), 0) as missing
    from pganalytics.ledger l
) t
cross join (
    select count(*) as orphaned
    from pganalytics.epochs e
    where not e.final and e.orphaned_at is not null and e.retired_at is null
) o
