-- What heartbeats leave out. Each counts once for an epoch that has not ended, in the order in which the broker took them;
-- one that names the epoch ends what earlier ones left out. After epochs_upsert, which makes the epochs that are new.
-- $1 collectors, $2 broker times (microseconds), $3 how much of all epochs each lists (0 to 1), $4 epochs (joined by commas)
with beat as (
    select u.collector, timestamptz 'epoch' + u.at_us * interval '1 microsecond' as at, u.share,
        string_to_array(u.epochs, ',')::bigint[] as epochs
    from unnest($1::text[], $2::bigint[], $3::double precision[], $4::text[]) as u (collector, at_us, share, epochs)
),
looked_at as (
    select e.collector, e.epoch, b.at, b.share,
        max(b.at) filter (where e.epoch = any (b.epochs)) over (partition by e.collector, e.epoch) as named_at
    from pganalytics.epochs e
    join beat b on b.collector = e.collector and (e.listed_at is null or b.at > e.listed_at)
    where not e.final
),
told as (
    select collector, epoch, max(at) as listed_at, bool_or(named_at is not null) as named,
        coalesce(sum(share) filter (where named_at is null or at > named_at), 0) as omissions,
        min(at) filter (where named_at is null or at > named_at) as omitted_from
    from looked_at
    group by collector, epoch
)
update pganalytics.epochs e
set listed_at = t.listed_at,
    omissions = case when t.named then 0 else e.omissions end + t.omissions,
    omitted_from = case when t.named then t.omitted_from else coalesce(e.omitted_from, t.omitted_from) end,
    orphaned_at = case when not t.named then e.orphaned_at end,
    retired_at = case when not t.named then e.retired_at end
from told t
where (e.collector, e.epoch) = (t.collector, t.epoch)
