-- Forget what is too old. $1 first day to keep, counted from 1970-01-01
delete from pganalytics.events where at < timestamptz 'epoch' + $1::integer * interval '1 day'
