-- Can be run again: what is there stays.
set client_min_messages = warning;
create table if not exists customers (id int primary key, name text not null, city text not null);
create table if not exists orders (
    id bigserial primary key, customer int not null references customers, amount numeric not null, at timestamptz not null
);
create index if not exists orders_at on orders (at);
create table if not exists queue (id int primary key, taken bigint not null);
insert into customers select n, 'customer ' || n, 'city ' || n % 17 from generate_series(1, 2000) n on conflict do nothing;
insert into queue values (1, 0) on conflict do nothing;
