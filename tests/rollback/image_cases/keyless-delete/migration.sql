DELETE FROM log WHERE line = 'line 1';
DELETE FROM log WHERE line IS NULL;
