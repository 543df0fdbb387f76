-- needs: rehearsal
UPDATE pg_catalog.pg_attribute SET attnotnull = true
    WHERE attrelid = 'payments'::regclass AND attname = 'amount';
