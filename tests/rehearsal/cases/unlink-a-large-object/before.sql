SELECT lo_from_bytea(424242, 'kept nowhere else');
SELECT lo_from_bytea(424243, 'stays');
