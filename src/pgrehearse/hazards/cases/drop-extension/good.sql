-- not run: it needs the extension's files
CREATE EXTENSION IF NOT EXISTS pgcrypto;
