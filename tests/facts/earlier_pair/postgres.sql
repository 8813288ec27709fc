SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.st_admit() RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
DECLARE
  control record;
BEGIN
  IF current_setting('st.applying', true) = (SELECT c.epoch::text FROM st_control c WHERE c.id = 1) THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock_shared(21332, 1);
  IF current_setting('transaction_isolation') = 'read committed' THEN
    SELECT c.writable, c.primary_side, c.epoch INTO control FROM st_control c WHERE c.id = 1;
  ELSE
    SELECT c.writable, c.primary_side, c.epoch INTO control FROM st_control c WHERE c.id = 1 FOR SHARE;
  END IF;
  IF NOT control.writable THEN
    RAISE EXCEPTION USING
      ERRCODE = 'ST001',
      MESSAGE = format('postgres takes no application writes: the primary is %s (epoch %s)',
                       control.primary_side, control.epoch),
      HINT = 'Restart this process, or point it at the primary.';
  END IF;
  RETURN true;
END
$$;
CREATE FUNCTION public."st_capture_We""ird {key} 'tä' 100%s"() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'We"ird {key} ''tä'' 100%s', "sel""ect {table} %"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'We"ird {key} ''tä'' 100%s', "sel""ect {table} %"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'We"ird {key} ''tä'' 100%s', "sel""ect {table} %"::text FROM st_old UNION SELECT 'We"ird {key} ''tä'' 100%s', "sel""ect {table} %"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('We"ird {key} ''tä'' 100%s', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_chicken() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'chicken', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'chicken', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'chicken', "id"::text FROM st_old UNION SELECT 'chicken', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('chicken', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_code() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'code', "code"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'code', "code"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'code', "code"::text FROM st_old UNION SELECT 'code', "code"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('code', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_counter() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'counter', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'counter', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'counter', "id"::text FROM st_old UNION SELECT 'counter', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('counter', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_egg() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'egg', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'egg', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'egg', "id"::text FROM st_old UNION SELECT 'egg', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('egg', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_item() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'item', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'item', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'item', "id"::text FROM st_old UNION SELECT 'item', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('item', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_kinds() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'kinds', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'kinds', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'kinds', "id"::text FROM st_old UNION SELECT 'kinds', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('kinds', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_loan() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'loan', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'loan', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'loan', "id"::text FROM st_old UNION SELECT 'loan', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('loan', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_node() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'node', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'node', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'node', "id"::text FROM st_old UNION SELECT 'node', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('node', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_owner() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'owner', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'owner', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'owner', "id"::text FROM st_old UNION SELECT 'owner', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('owner', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_pairkey() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'pairkey', jsonb_build_array("a", "b")::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'pairkey', jsonb_build_array("a", "b")::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'pairkey', jsonb_build_array("a", "b")::text FROM st_old UNION SELECT 'pairkey', jsonb_build_array("a", "b")::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('pairkey', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_pet() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'pet', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'pet', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'pet', "id"::text FROM st_old UNION SELECT 'pet', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('pet', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_plain() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'plain', "code"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'plain', "code"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'plain', "code"::text FROM st_old UNION SELECT 'plain', "code"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('plain', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_stray() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'stray', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'stray', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'stray', "id"::text FROM st_old UNION SELECT 'stray', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('stray', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_capture_token() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'token', "id"::text FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT 'token', "id"::text FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT 'token', "id"::text FROM st_old UNION SELECT 'token', "id"::text FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ('token', NULL);
  END IF;
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_fence() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  PERFORM st_admit();
  RETURN NULL;
END
$$;
CREATE FUNCTION public.st_may_write() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(21332, 1);
  RETURN (SELECT c.writable FROM st_control c WHERE c.id = 1);
END
$$;
CREATE FUNCTION public.st_open_round(durable boolean) RETURNS TABLE("position" text, quarantined boolean, announced boolean, pair text, primary_side text, epoch bigint, phase text, writable boolean, paused boolean, attempt text, attempt_state text, attempt_deadline double precision, note text)
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM st_watermark w WHERE w.id = 1 FOR UPDATE;
  IF NOT durable THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  END IF;
  PERFORM set_config('st.applying', c.epoch::text, true) FROM st_control c WHERE c.id = 1;
  RETURN QUERY
    SELECT w.position, EXISTS (SELECT 1 FROM st_quarantine), EXISTS (SELECT 1 FROM st_pending),
           c.pair, c.primary_side, c.epoch, c.phase, c.writable, c.paused,
           c.attempt, c.attempt_state, c.attempt_deadline, c.note
    FROM st_watermark w, st_control c WHERE w.id = 1 AND c.id = 1;
END
$$;
CREATE FUNCTION public.st_resume_round(from_position text, of_pair text, at_epoch bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'public', 'pg_temp'
    AS $$
BEGIN
  PERFORM 1 FROM st_watermark w WHERE w.id = 1 AND w.position = from_position FOR UPDATE;
  IF NOT FOUND
    OR EXISTS (SELECT 1 FROM st_quarantine) OR EXISTS (SELECT 1 FROM st_pending)
    OR NOT EXISTS (
      SELECT 1 FROM st_control c WHERE c.id = 1 AND c.pair = of_pair AND c.epoch = at_epoch
      AND c.primary_side = 'sqlite' AND c.phase = 'replicating' AND NOT c.paused)
  THEN
    RAISE EXCEPTION USING ERRCODE = 'ST002', MESSAGE = 'the shadow is not where this round began';
  END IF;
  PERFORM set_config('synchronous_commit', 'off', true), set_config('st.applying', at_epoch::text, true);
END
$$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public."We""ird {key} 'tä' 100%s" (
    "sel""ect {table} %" bigint NOT NULL,
    "order 'by' %s {name}" text COLLATE pg_catalog."C",
    "group" text COLLATE pg_catalog."C"
);
CREATE TABLE public.chicken (
    id bigint NOT NULL,
    egg_id bigint
);
ALTER TABLE public.chicken ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.chicken_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.code (
    code text NOT NULL COLLATE pg_catalog."C",
    rank bigint,
    v text COLLATE pg_catalog."C"
);
CREATE TABLE public.counter (
    id bigint NOT NULL,
    n bigint
);
ALTER TABLE public.counter ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.counter_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.egg (
    id bigint NOT NULL,
    chicken_id bigint
);
ALTER TABLE public.egg ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.egg_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.item (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    lane bigint,
    slot bigint,
    qty bigint DEFAULT 1 NOT NULL,
    note text DEFAULT 'n/a'::text COLLATE pg_catalog."C",
    made timestamp without time zone DEFAULT timezone('UTC'::text, CURRENT_TIMESTAMP)
);
CREATE SEQUENCE public.item_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.item_id_seq OWNED BY public.item.id;
CREATE TABLE public.kinds (
    id bigint NOT NULL,
    i bigint,
    big bigint,
    f double precision,
    b boolean,
    t text COLLATE pg_catalog."C",
    ts timestamp without time zone,
    d date,
    tm time without time zone,
    bl bytea,
    num numeric(38,9),
    u uuid,
    j json
);
ALTER TABLE public.kinds ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.kinds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.loan (
    id bigint NOT NULL,
    owner_id bigint,
    v text COLLATE pg_catalog."C"
);
ALTER TABLE public.loan ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.loan_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.node (
    id bigint NOT NULL,
    parent_id bigint,
    v text COLLATE pg_catalog."C"
);
ALTER TABLE public.node ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.node_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.owner (
    id bigint NOT NULL,
    name text COLLATE pg_catalog."C"
);
ALTER TABLE public.owner ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.owner_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.pairkey (
    a bigint NOT NULL,
    b text NOT NULL COLLATE pg_catalog."C",
    v text COLLATE pg_catalog."C"
);
CREATE TABLE public.pet (
    id bigint NOT NULL,
    owner_id bigint NOT NULL,
    v text COLLATE pg_catalog."C"
);
ALTER TABLE public.pet ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.pet_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.plain (
    code text NOT NULL COLLATE pg_catalog."C",
    rank bigint,
    v text COLLATE pg_catalog."C"
);
CREATE TABLE public.st_change_log (
    seq bigint NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    tbl text NOT NULL COLLATE pg_catalog."C",
    k text COLLATE pg_catalog."C",
    at double precision DEFAULT EXTRACT(epoch FROM clock_timestamp()) NOT NULL
);
ALTER TABLE public.st_change_log ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.st_change_log_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.st_control (
    id bigint NOT NULL,
    pair text NOT NULL,
    side text NOT NULL,
    primary_side text NOT NULL,
    epoch bigint NOT NULL,
    phase text NOT NULL,
    writable boolean NOT NULL,
    applying boolean NOT NULL,
    paused boolean NOT NULL,
    attempt text,
    attempt_state text,
    attempt_deadline double precision,
    note text
);
CREATE TABLE public.st_copy_range (
    tbl text NOT NULL,
    n bigint NOT NULL,
    after text,
    upto text,
    cursor text,
    rows bigint DEFAULT 0 NOT NULL,
    expected bigint DEFAULT 0 NOT NULL,
    done boolean DEFAULT false NOT NULL
);
CREATE TABLE public.st_deferred_ddl (
    name text NOT NULL,
    tbl text NOT NULL,
    kind text NOT NULL,
    definition text NOT NULL,
    orphans bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.st_history (
    id bigint NOT NULL,
    at double precision NOT NULL,
    actor text NOT NULL,
    event text NOT NULL,
    epoch bigint NOT NULL,
    evidence text NOT NULL
);
CREATE SEQUENCE public.st_history_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.st_history_id_seq OWNED BY public.st_history.id;
CREATE TABLE public.st_mismatch (
    tbl text NOT NULL,
    k text NOT NULL,
    kind text NOT NULL,
    columns text NOT NULL,
    found_at double precision NOT NULL
);
CREATE TABLE public.st_pending (
    tbl text NOT NULL,
    k text NOT NULL,
    token text NOT NULL
);
CREATE TABLE public.st_quarantine (
    tbl text NOT NULL,
    k text NOT NULL,
    col text NOT NULL,
    reason text NOT NULL,
    content text NOT NULL,
    at double precision NOT NULL,
    accepted_by text,
    accepted_at double precision
);
CREATE TABLE public.st_verify (
    id bigint NOT NULL,
    run text NOT NULL,
    epoch bigint NOT NULL,
    "position" text NOT NULL,
    started_at double precision NOT NULL,
    finished_at double precision,
    tables text NOT NULL,
    rows bigint NOT NULL,
    mismatches bigint NOT NULL
);
CREATE TABLE public.st_verify_progress (
    tbl text NOT NULL,
    cursor text,
    rows bigint NOT NULL,
    done boolean NOT NULL
);
CREATE TABLE public.st_watermark (
    id bigint NOT NULL,
    "position" text NOT NULL,
    changes bigint NOT NULL,
    applied_at double precision NOT NULL
);
CREATE TABLE public.stray (
    id bigint NOT NULL,
    owner_id bigint,
    v text COLLATE pg_catalog."C"
);
ALTER TABLE public.stray ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.stray_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.token (
    id uuid NOT NULL,
    v text COLLATE pg_catalog."C"
);
ALTER TABLE ONLY public.item ALTER COLUMN id SET DEFAULT nextval('public.item_id_seq'::regclass);
ALTER TABLE ONLY public.st_history ALTER COLUMN id SET DEFAULT nextval('public.st_history_id_seq'::regclass);
INSERT INTO public."We""ird {key} 'tä' 100%s" VALUES (1, 'p', 'g');
INSERT INTO public."We""ird {key} 'tä' 100%s" VALUES (2, 'q', NULL);
INSERT INTO public.chicken VALUES (1, 1);
INSERT INTO public.code VALUES ('a', 1, 'x');
INSERT INTO public.code VALUES ('B', 2, 'y');
INSERT INTO public.code VALUES ('ä', 3, 'z');
INSERT INTO public.code VALUES ('', 4, 'empty');
INSERT INTO public.counter VALUES (1, 1);
INSERT INTO public.counter VALUES (2, 2);
INSERT INTO public.egg VALUES (1, 1);
INSERT INTO public.item VALUES (3, 'three', 1, 3, 30, 'n/a', '2026-11-28 00:26:07');
INSERT INTO public.item VALUES (4, 'four', 2, 1, 40, 'n/a', '2026-11-28 00:26:07');
INSERT INTO public.item VALUES (5, 'five', NULL, NULL, 50, 'n/a', '2026-11-28 00:26:07');
INSERT INTO public.item VALUES (1, 'one', 1, 1, 11, 'n/a', '2026-11-28 00:26:07');
INSERT INTO public.item VALUES (2, 'two', 1, 2, 21, 'n/a', '2026-11-28 00:26:07');
INSERT INTO public.kinds VALUES (1, 1, NULL, 0.1, true, 'text', '2026-01-02 03:04:05.6789', '2026-01-02', '03:04:05', '\x00ff', 1.500000000, '00000000-0000-0000-0000-00000000000a', '{"a": 1}');
INSERT INTO public.kinds VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.loan VALUES (1, 1, 'book');
INSERT INTO public.loan VALUES (2, 2, 'car');
INSERT INTO public.loan VALUES (3, NULL, 'free');
INSERT INTO public.node VALUES (1, NULL, 'root');
INSERT INTO public.node VALUES (2, 1, 'child');
INSERT INTO public.node VALUES (3, 2, 'grandchild');
INSERT INTO public.node VALUES (4, NULL, 'other');
INSERT INTO public.owner VALUES (1, 'ann');
INSERT INTO public.owner VALUES (2, 'bob');
INSERT INTO public.owner VALUES (3, 'cy');
INSERT INTO public.pairkey VALUES (1, 'a', 'x');
INSERT INTO public.pairkey VALUES (1, 'b', 'y');
INSERT INTO public.pairkey VALUES (2, 'a', 'z');
INSERT INTO public.pairkey VALUES (2, '', 'empty');
INSERT INTO public.pet VALUES (1, 1, 'cat');
INSERT INTO public.pet VALUES (2, 1, 'dog');
INSERT INTO public.pet VALUES (3, 2, 'eel');
INSERT INTO public.plain VALUES ('B', 2, 'y');
INSERT INTO public.plain VALUES ('a', 1, 'x');
INSERT INTO public.plain VALUES ('c', 3, 'z');
INSERT INTO public.st_control VALUES (1, 'c8ee09b2e6e144eea23f9824a9d589b8', 'postgres', 'sqlite', 1, 'replicating', false, false, false, NULL, NULL, NULL, NULL);
INSERT INTO public.st_copy_range VALUES ('We"ird {key} ''tä'' 100%s', 0, NULL, NULL, NULL, 2, 2, true);
INSERT INTO public.st_copy_range VALUES ('chicken', 0, NULL, NULL, NULL, 1, 1, true);
INSERT INTO public.st_copy_range VALUES ('code', 0, NULL, NULL, NULL, 4, 4, true);
INSERT INTO public.st_copy_range VALUES ('counter', 0, NULL, NULL, NULL, 2, 2, true);
INSERT INTO public.st_copy_range VALUES ('egg', 0, NULL, NULL, NULL, 1, 1, true);
INSERT INTO public.st_copy_range VALUES ('item', 0, NULL, NULL, NULL, 5, 5, true);
INSERT INTO public.st_copy_range VALUES ('kinds', 0, NULL, NULL, NULL, 2, 2, true);
INSERT INTO public.st_copy_range VALUES ('loan', 0, NULL, NULL, NULL, 3, 3, true);
INSERT INTO public.st_copy_range VALUES ('node', 0, NULL, NULL, NULL, 4, 4, true);
INSERT INTO public.st_copy_range VALUES ('owner', 0, NULL, NULL, NULL, 3, 3, true);
INSERT INTO public.st_copy_range VALUES ('pairkey', 0, NULL, NULL, NULL, 4, 4, true);
INSERT INTO public.st_copy_range VALUES ('pet', 0, NULL, NULL, NULL, 3, 3, true);
INSERT INTO public.st_copy_range VALUES ('plain', 0, NULL, NULL, NULL, 3, 3, true);
INSERT INTO public.st_copy_range VALUES ('stray', 0, NULL, NULL, NULL, 2, 2, true);
INSERT INTO public.st_copy_range VALUES ('token', 0, NULL, NULL, NULL, 4, 4, true);
INSERT INTO public.st_deferred_ddl VALUES ('node_parent_id_fkey', 'node', 'foreign_key', 'FOREIGN KEY (parent_id) REFERENCES node(id) ON DELETE CASCADE', 0);
INSERT INTO public.st_deferred_ddl VALUES ('egg_chicken_id_fkey', 'egg', 'foreign_key', 'FOREIGN KEY (chicken_id) REFERENCES chicken(id) DEFERRABLE INITIALLY DEFERRED', 0);
INSERT INTO public.st_deferred_ddl VALUES ('chicken_egg', 'chicken', 'foreign_key', 'FOREIGN KEY (egg_id) REFERENCES egg(id) DEFERRABLE INITIALLY DEFERRED', 0);
INSERT INTO public.st_deferred_ddl VALUES ('pet_owner_id_fkey', 'pet', 'foreign_key', 'FOREIGN KEY (owner_id) REFERENCES owner(id) ON DELETE CASCADE', 0);
INSERT INTO public.st_deferred_ddl VALUES ('loan_owner_id_fkey', 'loan', 'foreign_key', 'FOREIGN KEY (owner_id) REFERENCES owner(id) ON DELETE SET NULL', 0);
INSERT INTO public.st_deferred_ddl VALUES ('stray_owner_id_fkey', 'stray', 'foreign_key', 'FOREIGN KEY (owner_id) REFERENCES owner(id)', 0);
INSERT INTO public.st_deferred_ddl VALUES ('We"ird {key} ''tä'' 100%s_order ''by'' %s {name}_key', 'We"ird {key} ''tä'' 100%s', 'constraint', 'UNIQUE ("order ''by'' %s {name}")', 0);
INSERT INTO public.st_deferred_ddl VALUES ('item_lane_slot_key', 'item', 'constraint', 'UNIQUE (lane, slot)', 0);
INSERT INTO public.st_deferred_ddl VALUES ('item_name_key', 'item', 'constraint', 'UNIQUE (name)', 0);
INSERT INTO public.st_deferred_ddl VALUES ('code_rank_key', 'code', 'constraint', 'UNIQUE (rank)', 0);
INSERT INTO public.st_deferred_ddl VALUES ('plain_rank_key', 'plain', 'constraint', 'UNIQUE (rank)', 0);
INSERT INTO public.st_deferred_ddl VALUES ('owner_name_key', 'owner', 'constraint', 'UNIQUE (name)', 0);
INSERT INTO public.st_deferred_ddl VALUES ('item_open', 'item', 'index', 'CREATE UNIQUE INDEX item_open ON public.item USING btree (note) WHERE (qty < 0)', 0);
INSERT INTO public.st_deferred_ddl VALUES ('item_qty', 'item', 'index', 'CREATE INDEX item_qty ON public.item USING btree (qty)', 0);
INSERT INTO public.st_history VALUES (1, 1795825568.1677008, 'vm/22354', 'phase preparing', 1, '{"discarded": []}');
INSERT INTO public.st_history VALUES (2, 1795825568.6181302, 'vm/22354', 'phase copying', 1, '{"from": "preparing"}');
INSERT INTO public.st_history VALUES (3, 1795825569.072827, 'vm/22354', 'phase replicating', 1, '{"from": "copying"}');
INSERT INTO public.st_watermark VALUES (1, '2', 2, 1795825569.0950437);
INSERT INTO public.stray VALUES (1, 1, 'home');
INSERT INTO public.stray VALUES (2, 77, 'orphan');
INSERT INTO public.token VALUES ('00000000-0000-0000-0000-00000000000a', 'v');
INSERT INTO public.token VALUES ('00000000-0000-0000-0000-0000000000a0', 'v');
INSERT INTO public.token VALUES ('ff000000-0000-0000-0000-000000000000', 'v');
INSERT INTO public.token VALUES ('80000000-0000-0000-0000-000000000000', 'v');
SELECT pg_catalog.setval('public.chicken_id_seq', 1, false);
SELECT pg_catalog.setval('public.counter_id_seq', 1, false);
SELECT pg_catalog.setval('public.egg_id_seq', 1, false);
SELECT pg_catalog.setval('public.item_id_seq', 1, false);
SELECT pg_catalog.setval('public.kinds_id_seq', 1, false);
SELECT pg_catalog.setval('public.loan_id_seq', 1, false);
SELECT pg_catalog.setval('public.node_id_seq', 1, false);
SELECT pg_catalog.setval('public.owner_id_seq', 1, false);
SELECT pg_catalog.setval('public.pet_id_seq', 1, false);
SELECT pg_catalog.setval('public.st_change_log_seq_seq', 1, false);
SELECT pg_catalog.setval('public.st_history_id_seq', 3, true);
SELECT pg_catalog.setval('public.stray_id_seq', 1, false);
ALTER TABLE ONLY public."We""ird {key} 'tä' 100%s"
    ADD CONSTRAINT "We""ird {key} 'tä' 100%s_order 'by' %s {name}_key" UNIQUE ("order 'by' %s {name}");
ALTER TABLE ONLY public."We""ird {key} 'tä' 100%s"
    ADD CONSTRAINT "We""ird {key} 'tä' 100%s_pkey" PRIMARY KEY ("sel""ect {table} %");
ALTER TABLE ONLY public.chicken
    ADD CONSTRAINT chicken_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.code
    ADD CONSTRAINT code_pkey PRIMARY KEY (code);
ALTER TABLE ONLY public.code
    ADD CONSTRAINT code_rank_key UNIQUE (rank);
ALTER TABLE ONLY public.counter
    ADD CONSTRAINT counter_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.egg
    ADD CONSTRAINT egg_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT item_lane_slot_key UNIQUE (lane, slot);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT item_name_key UNIQUE (name);
ALTER TABLE ONLY public.item
    ADD CONSTRAINT item_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.kinds
    ADD CONSTRAINT kinds_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.loan
    ADD CONSTRAINT loan_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.owner
    ADD CONSTRAINT owner_name_key UNIQUE (name);
ALTER TABLE ONLY public.owner
    ADD CONSTRAINT owner_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pairkey
    ADD CONSTRAINT pairkey_pkey PRIMARY KEY (a, b);
ALTER TABLE ONLY public.pet
    ADD CONSTRAINT pet_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.plain
    ADD CONSTRAINT plain_pkey PRIMARY KEY (code);
ALTER TABLE ONLY public.plain
    ADD CONSTRAINT plain_rank_key UNIQUE (rank);
ALTER TABLE ONLY public.st_change_log
    ADD CONSTRAINT st_change_log_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.st_control
    ADD CONSTRAINT st_control_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.st_copy_range
    ADD CONSTRAINT st_copy_range_pkey PRIMARY KEY (tbl, n);
ALTER TABLE ONLY public.st_deferred_ddl
    ADD CONSTRAINT st_deferred_ddl_pkey PRIMARY KEY (name, tbl);
ALTER TABLE ONLY public.st_history
    ADD CONSTRAINT st_history_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.st_mismatch
    ADD CONSTRAINT st_mismatch_pkey PRIMARY KEY (tbl, k);
ALTER TABLE ONLY public.st_pending
    ADD CONSTRAINT st_pending_pkey PRIMARY KEY (tbl, k);
ALTER TABLE ONLY public.st_quarantine
    ADD CONSTRAINT st_quarantine_pkey PRIMARY KEY (tbl, k);
ALTER TABLE ONLY public.st_verify
    ADD CONSTRAINT st_verify_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.st_verify_progress
    ADD CONSTRAINT st_verify_progress_pkey PRIMARY KEY (tbl);
ALTER TABLE ONLY public.st_watermark
    ADD CONSTRAINT st_watermark_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.stray
    ADD CONSTRAINT stray_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.token
    ADD CONSTRAINT token_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX item_open ON public.item USING btree (note) WHERE (qty < 0);
CREATE INDEX item_qty ON public.item USING btree (qty);
CREATE INDEX st_change_log_xid ON public.st_change_log USING btree (xid);
CREATE INDEX st_history_at ON public.st_history USING btree (at);
CREATE TRIGGER st_capture_delete AFTER DELETE ON public."We""ird {key} 'tä' 100%s" REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public."st_capture_We""ird {key} 'tä' 100%s"();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.chicken REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_chicken();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.code REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_code();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.counter REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_counter();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.egg REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_egg();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.item REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_item();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.kinds REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_kinds();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.loan REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_loan();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.node REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_node();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.owner REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_owner();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.pairkey REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pairkey();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.pet REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pet();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.plain REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_plain();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.stray REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_stray();
CREATE TRIGGER st_capture_delete AFTER DELETE ON public.token REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_token();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public."We""ird {key} 'tä' 100%s" REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public."st_capture_We""ird {key} 'tä' 100%s"();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.chicken REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_chicken();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.code REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_code();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.counter REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_counter();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.egg REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_egg();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.item REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_item();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.kinds REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_kinds();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.loan REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_loan();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.node REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_node();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.owner REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_owner();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.pairkey REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pairkey();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.pet REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pet();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.plain REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_plain();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.stray REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_stray();
CREATE TRIGGER st_capture_insert AFTER INSERT ON public.token REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_token();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public."We""ird {key} 'tä' 100%s" FOR EACH STATEMENT EXECUTE FUNCTION public."st_capture_We""ird {key} 'tä' 100%s"();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.chicken FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_chicken();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.code FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_code();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.counter FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_counter();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.egg FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_egg();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.item FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_item();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.kinds FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_kinds();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.loan FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_loan();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.node FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_node();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.owner FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_owner();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.pairkey FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pairkey();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.pet FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pet();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.plain FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_plain();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.stray FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_stray();
CREATE TRIGGER st_capture_truncate AFTER TRUNCATE ON public.token FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_token();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public."We""ird {key} 'tä' 100%s" REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public."st_capture_We""ird {key} 'tä' 100%s"();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.chicken REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_chicken();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.code REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_code();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.counter REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_counter();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.egg REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_egg();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.item REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_item();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.kinds REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_kinds();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.loan REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_loan();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.node REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_node();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.owner REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_owner();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.pairkey REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pairkey();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.pet REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_pet();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.plain REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_plain();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.stray REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_stray();
CREATE TRIGGER st_capture_update AFTER UPDATE ON public.token REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION public.st_capture_token();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public."We""ird {key} 'tä' 100%s" FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.chicken FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.code FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.counter FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.egg FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.item FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.kinds FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.loan FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.node FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.owner FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.pairkey FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.pet FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.plain FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.stray FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
CREATE TRIGGER st_fence BEFORE INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.token FOR EACH STATEMENT WHEN ((COALESCE(current_setting('st.applying'::text, true), ''::text) = ''::text)) EXECUTE FUNCTION public.st_fence();
