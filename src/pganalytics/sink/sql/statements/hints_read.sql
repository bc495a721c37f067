-- What the streams told of gaps lately, newest first. $1 seconds, $2 most
select at, kind, collector, epoch, lane, seqs::text, detail
from pganalytics.events
where at > now() - make_interval(secs => $1::float8) and kind in ('gap', 'gap_filled', 'gap_confirmed', 'tail', 'seq_reused')
order by at desc, id
limit $2::bigint
