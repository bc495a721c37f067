-- The role of the agent: as `pganalytics check --print-role-sql -c compose/settings.toml` prints it, but that the password comes from
-- a file and is not asked for.
set search_path = pg_catalog, pg_temp;
select 'create role "pganalytics" login' where not exists (select from pg_roles where rolname = 'pganalytics') \gexec
grant pg_monitor to "pganalytics";
select format('grant connect on database %I to %I', datname, 'pganalytics') from pg_database
where (datname = 'postgres' or (datallowconn and not datistemplate))
    and not has_database_privilege('pganalytics', oid, 'connect') \gexec
-- pg_stat_statements must also be in shared_preload_libraries.
\connect "postgres"
create extension if not exists "pg_stat_statements";
set search_path = pg_catalog, pg_temp;
select format('grant usage on schema %I to %I', n.nspname, 'pganalytics')
from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'pg_stat_statements' and not has_schema_privilege('pganalytics', n.oid, 'usage') \gexec
-- What the agent asks does not count among the statements of the server; this needs a superuser.
alter role "pganalytics" set pg_stat_statements.track = 'none';
\set monitor `cat /run/secrets/targets_monitor`
alter role "pganalytics" password :'monitor';
