-- How epochs end: by what a final heartbeat said, by its agent's spool being gone, or by an operator's word.
-- scope: store; privilege: owner of the tables; first server version: 14

alter table pganalytics.epochs
    add column final_critical bigint,
    add column final_normal bigint,
    add column final_bulk bigint,
    add column rolled_back boolean not null default false,
    add column listed_at timestamptz,
    add column omissions double precision not null default 0,
    add column omitted_from timestamptz,
    add column orphaned_at timestamptz,
    add column retired_at timestamptz;
create index epochs_open on pganalytics.epochs (collector) where not final;
comment on column pganalytics.epochs.final_critical is 'Highest seq of lane critical by the final heartbeat; the least when several differ.';
comment on column pganalytics.epochs.rolled_back is 'Some seq is known above what the final heartbeat said: its spool was put back to an earlier state.';
comment on column pganalytics.epochs.listed_at is 'Broker time of the newest heartbeat of the collector that was looked at for this epoch.';
comment on column pganalytics.epochs.omissions is 'How often, since a heartbeat last named this epoch, the collector has listed all its epochs without it.';
comment on column pganalytics.epochs.omitted_from is 'Broker time of the first of those listings: nothing of this epoch was read after it.';
comment on column pganalytics.epochs.orphaned_at is 'When it was called orphaned; NULL again when a heartbeat names it.';
comment on column pganalytics.epochs.retired_at is 'When an operator gave up what is left of it; NULL again when a heartbeat names it.';
