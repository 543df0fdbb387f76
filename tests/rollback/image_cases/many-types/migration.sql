DELETE FROM things WHERE id IN (1, 3);
UPDATE moved SET j = '{}', js = '{}', ints = '{9}', words = '{x}', moods = '{ok}', m = 'ok', e = 'x@y', s = 'zz', p = '(9,z)', ps = NULL,
    r = '[8,9)', mr = NULL, sp = '[1,2]', n = n + 0.00, f = 0, f4 = 1, i = i + interval '0 s' + interval '30 days' - interval '1 mon', tz = now(), tt = '01:00+00', b = '\x01', net = '10.0.0.1', mac = NULL,
    c = 'abcdef', bits = '11111', vb = '10', pt = '(0,0)', box = NULL, cash = 1, v = 'x', u = gen_random_uuid(), oid = 1, x = 'r';
UPDATE by_mood SET n = 0 WHERE m = 'ok';
DELETE FROM by_mood WHERE m = 'sad';
DROP TABLE cleared;
DROP TYPE pair CASCADE;
ALTER TYPE mood RENAME TO feeling;
