CREATE TABLE public.guests (id bigint PRIMARY KEY);
