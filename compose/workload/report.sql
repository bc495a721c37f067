select c.city, count(*), sum(o.amount) from orders o join customers c on c.id = o.customer group by c.city order by 3 desc;
select date_trunc('minute', at) as minute, sum(amount) from orders group by 1 order by 1 desc limit 10;
select count(*) from generate_series(1, 200000) n where n % 7 = 0;
