-- Roles with their attributes and memberships.
-- scope: instance
-- interval: 3600 s
-- timeout: 10 s
-- privilege: none
-- server: 16
-- pg_roles shows no password. A grant that several roles made counts once, with all that they granted.
-- rows
select
    r.oid::bigint as roleid,
    r.rolname::text as name,
    r.rolsuper as is_superuser,
    r.rolinherit as inherits,
    r.rolcreaterole as can_create_roles,
    r.rolcreatedb as can_create_databases,
    r.rolcanlogin as can_login,
    r.rolreplication as can_replicate,
    r.rolbypassrls as bypasses_rls,
    r.rolconnlimit::bigint as connection_limit,
    case when pg_catalog.isfinite(r.rolvaliduntil)
        then least(extract(epoch from r.rolvaliduntil) * 1000000, 9.2e18)::bigint end as valid_until,
    coalesce(m.member_of, '') as member_of
from pg_catalog.pg_roles r
left join (
    select
        g.member,
        pg_catalog.string_agg(
            pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.roleid)) || coalesce(g.more, ''),
            ', ' order by pg_catalog.pg_get_userbyid(g.roleid)) as member_of
    from (
        select
            m.member,
            m.roleid,
            ' (' || nullif(pg_catalog.concat_ws(', ',
                case when pg_catalog.bool_or(m.admin_option) then 'admin' end,
                case pg_catalog.bool_or(m.inherit_option) when b.rolinherit then null when true then 'inherit' else 'no inherit' end,
                case when not pg_catalog.bool_or(m.set_option) then 'no set' end), '') || ')' as more
        from pg_catalog.pg_auth_members m
        join pg_catalog.pg_roles b on b.oid = m.member
        group by m.member, m.roleid, b.rolinherit) g
    group by g.member) m on m.member = r.oid;
