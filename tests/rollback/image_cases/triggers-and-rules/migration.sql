ALTER TABLE guarded DISABLE TRIGGER shouting;
UPDATE guarded SET v = 'w', changed_at = NULL WHERE id < 5;
ALTER TABLE guarded ENABLE TRIGGER shouting;
DELETE FROM guarded WHERE id > 15;
DELETE FROM ruled WHERE id > 15;
DELETE FROM partitioned_guarded WHERE id > 15;
