-- needs: rehearsal
ALTER TABLE days SET UNLOGGED;
