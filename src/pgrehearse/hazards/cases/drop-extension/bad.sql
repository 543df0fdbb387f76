-- not run: it needs the extension's files
DROP EXTENSION pgcrypto;
