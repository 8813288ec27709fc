-- name: admit
-- Called by every write statement's trigger, and by a session before its first write. The shared lock
-- is held to the end of the transaction, so raising the fence (which takes it exclusively) waits for
-- every writer in flight. The control row is read after the lock was granted, with a fresh snapshot;
-- a transaction whose snapshot is older than that (REPEATABLE READ and up) locks the row instead,
-- which fails with a serialization error if the fence moved since.
CREATE OR REPLACE FUNCTION {schema}.st_admit() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = {schema}, pg_temp AS $body$
DECLARE
  control record;
BEGIN
  IF current_setting('st.applying', true) = (SELECT c.epoch::text FROM st_control c WHERE c.id = 1) THEN
    RETURN false;
  END IF;
  -- A migration of the shadow: captured, and past the fence. The mark names its own transaction, so that
  -- neither a setting that was left behind nor one that somebody copied lets anyone else pass.
  IF coalesce(current_setting('st.migrating', true), '') = pg_current_xact_id_if_assigned()::text THEN
    RETURN true;
  END IF;
  PERFORM pg_advisory_xact_lock_shared({lock_class}, {lock_object});
  IF current_setting('transaction_isolation') = 'read committed' THEN
    SELECT c.writable, c.primary_side, c.epoch INTO control FROM st_control c WHERE c.id = 1;
  ELSE
    SELECT c.writable, c.primary_side, c.epoch INTO control FROM st_control c WHERE c.id = 1 FOR SHARE;
  END IF;
  IF control.writable IS NOT TRUE THEN  -- raised, or the row is gone
    RAISE EXCEPTION USING
      ERRCODE = '{fenced}',
      MESSAGE = format('postgres takes no application writes: the primary is %s (epoch %s)',
                       coalesce(control.primary_side, 'not on record'), control.epoch),
      HINT = 'Restart this process, or point it at the primary.';
  END IF;
  RETURN true;
END
$body$

-- name: fence_function
-- The refusal comes before the write, so that a stale writer reads why and not, say, that an id is taken.
CREATE OR REPLACE FUNCTION {schema}.st_fence() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $body$
BEGIN
  PERFORM st_admit();
  RETURN NULL;
END
$body$

-- name: fence
-- One trigger for every kind of write. Apply's mark is only looked for here, which costs next to nothing;
-- that it names the present epoch is what st_admit asks for again when the write is captured.
CREATE OR REPLACE TRIGGER st_fence BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT WHEN (coalesce(current_setting('st.applying', true), '') = '')
EXECUTE FUNCTION {schema}.st_fence()

-- name: capture
-- One function per table: its key columns are static SQL, so that plans are cached. Where the text of a key
-- depends on settings of the writer's session, the function brings its own. A column may be called new or found.
CREATE OR REPLACE FUNCTION {schema}.{function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp {settings} AS $body$
#variable_conflict use_column
BEGIN
  IF NOT st_admit() THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'INSERT' THEN
    INSERT INTO st_change_log (tbl, k) SELECT {name}, {key} FROM st_new;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO st_change_log (tbl, k) SELECT {name}, {key} FROM st_old;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO st_change_log (tbl, k)
      SELECT {name}, {key} FROM st_old UNION SELECT {name}, {key} FROM st_new;
  ELSE
    INSERT INTO st_change_log (tbl, k) VALUES ({name}, NULL);
  END IF;
  RETURN NULL;
END
$body$

-- name: insert
-- Capture of INSERT and of COPY.
CREATE OR REPLACE TRIGGER st_capture_insert AFTER INSERT ON {table}
REFERENCING NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}()

-- name: update
-- Capture of UPDATE, old and new keys.
CREATE OR REPLACE TRIGGER st_capture_update AFTER UPDATE ON {table}
REFERENCING OLD TABLE AS st_old NEW TABLE AS st_new FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}()

-- name: delete
-- Capture of DELETE.
CREATE OR REPLACE TRIGGER st_capture_delete AFTER DELETE ON {table}
REFERENCING OLD TABLE AS st_old FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}()

-- name: truncate
-- Capture of TRUNCATE: the whole table.
CREATE OR REPLACE TRIGGER st_capture_truncate AFTER TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{function}()

-- name: may_write
-- Asked by a session before its first write: takes the shared writers' lock as st_admit does, but
-- answers false instead of failing, so that the session can wait and go on elsewhere.
CREATE OR REPLACE FUNCTION {schema}.st_may_write() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = {schema}, pg_temp AS $body$
BEGIN
  PERFORM pg_advisory_xact_lock_shared({lock_class}, {lock_object});
  RETURN (SELECT c.writable FROM st_control c WHERE c.id = 1);
END
$body$

-- name: open_round
-- What a round of apply begins with, in one call: the applier's lock, the mark that lets it pass fence and
-- capture, and, read after the lock was granted, the watermark and the control row.
CREATE OR REPLACE FUNCTION {schema}.st_open_round(durable boolean)
RETURNS TABLE (
  "position" text, quarantined boolean, announced boolean, pair text, primary_side text, epoch bigint,
  phase text, writable boolean, paused boolean, attempt text, attempt_state text,
  attempt_deadline double precision, note text)
LANGUAGE plpgsql VOLATILE SET search_path = {schema}, pg_temp AS $body$
#variable_conflict use_column
BEGIN
  PERFORM 1 FROM st_watermark w WHERE w.id = 1 FOR UPDATE;
  IF NOT durable THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSIF current_setting('synchronous_commit') = 'off' THEN  -- stored for the database or a role
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;
  PERFORM set_config('st.applying', c.epoch::text, true) FROM st_control c WHERE c.id = 1;
  RETURN QUERY
    SELECT w.position, EXISTS (SELECT 1 FROM st_quarantine), EXISTS (SELECT 1 FROM st_pending),
           c.pair, c.primary_side, c.epoch, c.phase, c.writable, c.paused,
           c.attempt, c.attempt_state, c.attempt_deadline, c.note
    FROM st_watermark w, st_control c WHERE w.id = 1 AND c.id = 1;
END
$body$

-- name: resume_round
-- What a small round begins with, which has read the primary already: the same lock and the same mark,
-- but only if the shadow still is where that reading began, and nothing needs an ordinary round.
CREATE OR REPLACE FUNCTION {schema}.st_resume_round(from_position text, of_pair text, at_epoch bigint)
RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = {schema}, pg_temp AS $body$
BEGIN
  PERFORM 1 FROM st_watermark w WHERE w.id = 1 AND w.position = from_position FOR UPDATE;
  IF NOT FOUND
    OR EXISTS (SELECT 1 FROM st_quarantine) OR EXISTS (SELECT 1 FROM st_pending)
    OR NOT EXISTS (
      SELECT 1 FROM st_control c WHERE c.id = 1 AND c.pair = of_pair AND c.epoch = at_epoch
      AND c.primary_side = 'sqlite' AND c.phase = 'replicating' AND NOT c.paused)
  THEN
    RAISE EXCEPTION USING ERRCODE = '{overtaken}', MESSAGE = 'the shadow is not where this round began';
  END IF;
  PERFORM set_config('synchronous_commit', 'off', true), set_config('st.applying', at_epoch::text, true);
END
$body$
