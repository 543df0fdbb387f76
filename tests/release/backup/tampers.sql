-- Changes to a restored copy: `-- what, everywhere|18 -> the words by which it must be told`, the change, how it is undone.

-- a value, 18 -> values of balance
UPDATE bank.accounts SET balance = 1001 WHERE id = 7;
-- undo
UPDATE bank.accounts SET balance = 1000 WHERE id = 7;

-- two values swapped, 18 -> values of cents
UPDATE bank.transfers SET cents = 77 - cents WHERE id IN (5, 6);
-- undo
UPDATE bank.transfers SET cents = 77 - cents WHERE id IN (5, 6);

-- an enum's value, everywhere -> values of state
UPDATE bank.accounts SET state = 'new' WHERE id = 1;
-- undo
UPDATE bank.accounts SET state = 'open' WHERE id = 1;

-- a value to NULL, 18 -> values of note
UPDATE bank.transfers SET note = NULL WHERE id = 9;
-- undo
UPDATE bank.transfers SET note = '{"n": 9}' WHERE id = 9;

-- minus zero, 18 -> values of f
UPDATE bank.zoo SET f = 0 WHERE n = 1::numeric / 7;
-- undo
UPDATE bank.zoo SET f = '-0' WHERE n = 1::numeric / 7;

-- a keyless row, 18 -> bank.keyless
UPDATE bank.keyless SET b = 'K' WHERE ctid = '(0,1)';
-- undo
UPDATE bank.keyless SET b = 'k' WHERE b = 'K';

-- a row less, 18 -> 2 rows in the snapshot, 1
DELETE FROM bank.scratchpad WHERE a = 2;
-- undo
INSERT INTO bank.scratchpad VALUES (2);

-- a row of our own ledger, 18 -> pgrehearse.steps
UPDATE pgrehearse.steps SET done = false;
-- undo
UPDATE pgrehearse.steps SET done = true;

-- a column of our own ledger, everywhere -> Name: steps
ALTER TABLE pgrehearse.steps ALTER done SET NOT NULL;
-- undo
ALTER TABLE pgrehearse.steps ALTER done DROP NOT NULL;

-- a sequence, everywhere -> bank.tickets
SELECT setval('bank.tickets', 990);
-- undo
SELECT setval('bank.tickets', 995);

-- a large object, everywhere -> large objects
SELECT lo_put(424242, 1500000, 'x');
-- undo
SELECT lo_put(424242, 1500000, 'l');

-- a large object more, 18 -> 2 in the snapshot, 3
SELECT lo_from_bytea(7, '');
-- undo
SELECT lo_unlink(7);

-- an index, 18 -> transfers_cents_idx
DROP INDEX bank.transfers_cents_idx;
-- undo
CREATE INDEX ON bank.transfers (cents);

-- a right, everywhere -> bank.accounts
GRANT INSERT ON bank.accounts TO PUBLIC;
-- undo
REVOKE INSERT ON bank.accounts FROM PUBLIC;

-- a default, 18 -> bank.empty
ALTER TABLE bank.empty ALTER a SET DEFAULT 1;
-- undo
ALTER TABLE bank.empty ALTER a DROP DEFAULT;

-- a table more, 18 -> bank.more is only in the copy
CREATE TABLE bank.more ();
-- undo
DROP TABLE bank.more;

-- a view, 18 -> bank.open
CREATE OR REPLACE VIEW bank.open AS SELECT * FROM bank.accounts;
-- undo
CREATE OR REPLACE VIEW bank.open AS SELECT * FROM bank.accounts WHERE state IN ('new', 'open');
