UPDATE seats SET place = place + 100;
UPDATE later SET place = place + 1;
DELETE FROM rooms WHERE id > 10;
UPDATE rooms SET during = int4range(100 + id, 101 + id);
