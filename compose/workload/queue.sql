\set hold random(1, 4)
\set pause random(0, 3)
begin;
update queue set taken = taken + 1 where id = 1;
\sleep :hold s
commit;
\sleep :pause s
