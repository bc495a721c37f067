\set customer random(1, 2000)
select name, city from customers where id = :customer;
insert into orders (customer, amount, at) values (:customer, random() * 100, now());
update customers set name = name where id = :customer;
select id, amount from orders where customer = :customer order by id desc limit 5;
