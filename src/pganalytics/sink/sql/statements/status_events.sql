-- What was noticed lately, by collector and kind. $1 seconds
select collector, kind, count(*), extract(epoch from now() - max(at))::float8
from pganalytics.events
where at > now() - make_interval(secs => $1::float8)
group by collector, kind
order by collector, kind
