ALTER TABLE events DROP COLUMN note;
DELETE FROM events WHERE id % 10 = 0;
UPDATE events SET what = 'x' WHERE id < 40;
UPDATE events SET day = '2026-02-11' WHERE id BETWEEN 100 AND 120;
