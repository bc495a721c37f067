-- Texts of the entries of pg_stat_statements, each queryid once. The server reads its whole file of texts for this.
-- scope: instance
-- interval: 300 s
-- timeout: 30 s
-- privilege: pg_read_all_stats (without it other users' texts are hidden)
-- server: 13
-- extension: pg_stat_statements 1.8
-- `length`: bytes of the whole text; what is longer than a million characters is cut.
-- The extension may lie in any schema, and only pg_catalog is in the agent's search path: psql looks the schema up here.
select n.nspname as schema from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace where e.extname = 'pg_stat_statements' \gset
-- rows
select
    s.queryid,
    pg_catalog.min(pg_catalog.left(s.query, 1000000)) as query,
    pg_catalog.max(pg_catalog.octet_length(s.query))::bigint as length
from :"schema".pg_stat_statements(true) s
where s.queryid is not null
group by s.queryid;
