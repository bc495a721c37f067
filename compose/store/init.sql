-- The store's owner, its database, and a role for Grafana that may read and nothing else. Run once, by the image's own start.
\set store `cat /run/secrets/store`
\set grafana `cat /run/secrets/grafana_store`
create role pganalytics login password :'store';
create database pganalytics owner pganalytics;
create role grafana login password :'grafana';
alter role grafana set default_transaction_read_only = on;
alter role grafana set statement_timeout = '30s';
\connect pganalytics
alter default privileges for role pganalytics grant usage on schemas to grafana;
alter default privileges for role pganalytics grant select on tables to grafana;
