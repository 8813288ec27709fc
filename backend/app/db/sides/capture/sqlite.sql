-- name: fence
-- A write that cannot be logged cannot happen: every capture trigger writes the log, and the log
-- refuses while the fence is up, and where the control row is gone. The message is made anew at each promotion.
-- `applying` is 1 for a round of apply, which is not logged, and 2 for a migration of the shadow, which is;
-- no transaction commits with either.
-- What RAISE gives is a violated constraint, and frameworks take that for a duplicate key and try again for
-- ever. A path that json_each cannot read is an operational error which quotes the path, on any
-- connection: with trusted_schema off some versions of SQLite refuse json_extract in every trigger. The path
-- must not be a constant, or SQLite would read it before it looks at WHEN. RAISE stands behind it, so that
-- the statement is one that may have to be undone.
CREATE TRIGGER st_fence BEFORE INSERT ON st_change_log
WHEN coalesce((SELECT writable = 0 AND applying = 0 FROM st_control WHERE id = 1), 1)
BEGIN
  SELECT 1 FROM json_each('{{}}', {message} || substr(NEW.tbl, 1, 0));
  SELECT RAISE(ABORT, {message});
END

-- name: insert
-- The new row's key. Also covers a row that REPLACE deleted because it had the same primary key.
CREATE TRIGGER {prefix}_insert AFTER INSERT ON {table}
WHEN coalesce((SELECT applying FROM st_control WHERE id = 1), 0) <> 1
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ({name}, {new_key}, {now});
END

-- name: update
-- The old key, and the new one if it moved. Before the row changes: afterwards SQLite may have made a number of the
-- key, to look for it in the index of a column that refers to it and has numeric affinity.
CREATE TRIGGER {prefix}_update BEFORE UPDATE ON {table}
WHEN coalesce((SELECT applying FROM st_control WHERE id = 1), 0) <> 1
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ({name}, {old_key}, {now});
  INSERT INTO st_change_log (tbl, k, at) SELECT {name}, {new_key}, {now} WHERE {key_moved};
END

-- name: delete
-- The old key, before the row goes: see above.
CREATE TRIGGER {prefix}_delete BEFORE DELETE ON {table}
WHEN coalesce((SELECT applying FROM st_control WHERE id = 1), 0) <> 1
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ({name}, {old_key}, {now});
END

-- name: collide_insert
-- REPLACE deletes every row that collides on a unique key, and fires no delete trigger for it unless
-- recursive_triggers is on, which is each connection's own affair. So the colliding rows are logged
-- before they can vanish. If nothing is replaced the extra entry is harmless: apply reads the state. A NULL that
-- a column does not take counts as its default, and the rowid as one more unique key.
CREATE TRIGGER {prefix}_collide_insert{n} BEFORE INSERT ON {table}
WHEN coalesce((SELECT applying FROM st_control WHERE id = 1), 0) <> 1
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT {name}, {row_key}, {now} FROM {table} WHERE {same_values};
END

-- name: collide_update
-- The same for UPDATE OR REPLACE. A row may come under an expression or a condition by a change of any column.
CREATE TRIGGER {prefix}_collide_update{n} BEFORE UPDATE {of}ON {table}
WHEN coalesce((SELECT applying FROM st_control WHERE id = 1), 0) <> 1
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT {name}, {row_key}, {now} FROM {table}
  WHERE {same_values} AND NOT ({is_old_row});
END
