-- What `pganalytics check` wants to know of a server beside its metrics. One row; what the role may not see is NULL.
-- scope: instance
-- timeout: 5 s
-- privilege: none (without pg_read_all_settings the preloaded libraries are hidden)
-- server: 13
with s as (
    select g.name, g.setting
    from pg_catalog.pg_settings g
    where g.name in (
        'shared_preload_libraries', 'pg_stat_statements.max', 'track_io_timing', 'track_activity_query_size', 'compute_query_id',
        'max_connections', 'superuser_reserved_connections', 'reserved_connections'
    )
)
select
    pg_catalog.current_setting('server_version') as version,
    pg_catalog.current_setting('server_version_num')::integer / 10000 as major,
    pg_catalog.pg_is_in_recovery() as standby,
    current_user::text as role,
    coalesce((select l.version from pg_catalog.pg_stat_ssl l where l.pid = pg_catalog.pg_backend_pid() and l.ssl), '') as tls,
    (select min(r.rolname::text) from pg_catalog.pg_roles r where r.rolsuper and pg_catalog.pg_has_role(r.oid, 'USAGE')
        and r.rolname <> current_user) as superuser_inherited,
    array(
        select r.rolname::text
        from pg_catalog.pg_roles r
        where r.rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
            and pg_catalog.pg_has_role(r.oid, 'MEMBER')
        order by 1
    ) as server_powers,
    pg_catalog.current_setting('server_version_num')::integer < 160000 and coalesce(
        (select r.rolcreaterole from pg_catalog.pg_roles r where r.rolname = current_user), false
    ) as makes_itself_member,
    (select s.setting from s where s.name = 'shared_preload_libraries') as preloaded,
    (select s.setting::integer from s where s.name = 'pg_stat_statements.max') as statements_max,
    (select s.setting from s where s.name = 'track_io_timing') = 'on' as times_io,
    (select s.setting::integer from s where s.name = 'track_activity_query_size') as query_size,
    (select s.setting from s where s.name = 'compute_query_id') as query_id,
    (select s.setting::integer from s where s.name = 'max_connections')
        - coalesce((select sum(s.setting::integer) from s where s.name like '%reserved_connections'), 0)::integer as max_connections,
    (select count(*)::integer from pg_catalog.pg_stat_activity a
        where a.backend_type = 'client backend' and a.pid <> pg_catalog.pg_backend_pid()) as connections,
    (select r.rolconnlimit from pg_catalog.pg_roles r where r.rolname = current_user) as role_limit;
