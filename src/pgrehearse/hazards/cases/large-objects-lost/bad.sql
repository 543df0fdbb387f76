-- needs: rehearsal
SELECT lo_unlink(lo_create(0));
