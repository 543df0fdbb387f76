-- not run: it drops what the tests stand on
DROP OWNED BY intern;
