-- What is watched: two databases and the role of the workload.
\set shop `cat /run/secrets/targets_shop`
create role shop login password :'shop';
create database shop1 owner shop;
create database shop2 owner shop;
