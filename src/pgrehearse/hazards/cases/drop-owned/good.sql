-- not run: roles are the whole server's
REASSIGN OWNED BY intern TO CURRENT_USER;
