CREATE TABLE item (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, lane INTEGER, slot INTEGER,
  qty INTEGER NOT NULL DEFAULT 1, note VARCHAR(20) DEFAULT 'n/a', made DATETIME DEFAULT CURRENT_TIMESTAMP,
  UNIQUE (lane, slot));
CREATE TABLE counter (id INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER);
CREATE TABLE kinds (
  id INTEGER PRIMARY KEY, i INTEGER, big BIGINT, f FLOAT, b BOOLEAN, t TEXT, ts DATETIME, d DATE, tm TIME,
  bl BLOB, num NUMERIC(38, 9), u CHAR(32), j JSON);
CREATE TABLE pairkey (a INTEGER NOT NULL, b TEXT NOT NULL, v TEXT, PRIMARY KEY (a, b));
CREATE TABLE code (code TEXT NOT NULL PRIMARY KEY, rank INTEGER UNIQUE, v TEXT);
CREATE TABLE plain (code TEXT NOT NULL PRIMARY KEY, rank INTEGER UNIQUE, v TEXT) WITHOUT ROWID;
CREATE TABLE token (id CHAR(32) NOT NULL PRIMARY KEY, v TEXT);
CREATE TABLE node (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES node (id) ON DELETE CASCADE, v TEXT);
CREATE TABLE chicken (id INTEGER PRIMARY KEY, egg_id INTEGER REFERENCES egg (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE egg (id INTEGER PRIMARY KEY, chicken_id INTEGER REFERENCES chicken (id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE pet (id INTEGER PRIMARY KEY, owner_id INTEGER NOT NULL REFERENCES owner (id) ON DELETE CASCADE, v TEXT);
CREATE TABLE loan (id INTEGER PRIMARY KEY, owner_id INTEGER REFERENCES owner (id) ON DELETE SET NULL, v TEXT);
CREATE TABLE stray (id INTEGER PRIMARY KEY, owner_id INTEGER REFERENCES owner (id), v TEXT);
CREATE TABLE "We""ird {key} 'tä' 100%s" ("sel""ect {table} %" INTEGER PRIMARY KEY, "order 'by' %s {name}" TEXT UNIQUE, "group" TEXT);
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
CREATE TABLE st_change_log (seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, k, at REAL NOT NULL);
CREATE TABLE st_control (
	id INTEGER NOT NULL, 
	pair TEXT NOT NULL, 
	side TEXT NOT NULL, 
	primary_side TEXT NOT NULL, 
	epoch BIGINT NOT NULL, 
	phase TEXT NOT NULL, 
	writable BOOLEAN NOT NULL, 
	applying BOOLEAN NOT NULL, 
	paused BOOLEAN NOT NULL, 
	attempt TEXT, 
	attempt_state TEXT, 
	attempt_deadline DOUBLE, 
	note TEXT, 
	PRIMARY KEY (id)
);
CREATE TABLE st_pending (
	tbl TEXT NOT NULL, 
	k TEXT NOT NULL, 
	token TEXT NOT NULL, 
	PRIMARY KEY (tbl, k)
);
CREATE TABLE st_watermark (
	id INTEGER NOT NULL, 
	position TEXT NOT NULL, 
	changes BIGINT NOT NULL, 
	applied_at DOUBLE NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "item" VALUES (1, 'one', 1, 1, 11, 'n/a', '2026-11-28 00:26:07');
INSERT INTO "item" VALUES (2, 'two', 1, 2, 21, 'n/a', '2026-11-28 00:26:07');
INSERT INTO "item" VALUES (3, 'three', 1, 3, 30, 'n/a', '2026-11-28 00:26:07');
INSERT INTO "item" VALUES (4, 'four', 2, 1, 40, 'n/a', '2026-11-28 00:26:07');
INSERT INTO "item" VALUES (100, 'later', NULL, NULL, 1, 'n/a', '2026-11-28 00:26:09');
INSERT INTO "counter" VALUES (1, 1);
INSERT INTO "counter" VALUES (2, 2);
DELETE FROM sqlite_sequence;
INSERT INTO "sqlite_sequence" VALUES ('counter', 2);
INSERT INTO "sqlite_sequence" VALUES ('st_change_log', 13);
INSERT INTO "kinds" VALUES (1, 1, NULL, 0.1, 1, 'text', '2026-01-02 03:04:05.678900', '2026-01-02', '03:04:05.000000', X'00FF', 1.5, '0000000000000000000000000000000a', '{"a": 1}');
INSERT INTO "kinds" VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO "pairkey" VALUES (1, 'a', 'x');
INSERT INTO "pairkey" VALUES (1, 'b', 'y');
INSERT INTO "pairkey" VALUES (2, 'c', 'z');
INSERT INTO "pairkey" VALUES (2, '', 'empty');
INSERT INTO "code" VALUES ('a', 1, 'x');
INSERT INTO "code" VALUES ('B', 2, 'y');
INSERT INTO "code" VALUES ('ä', 3, 'z');
INSERT INTO "code" VALUES ('', 4, 'empty');
INSERT INTO "plain" VALUES ('B', 2, 'y');
INSERT INTO "plain" VALUES ('a', 1, 'x');
INSERT INTO "plain" VALUES ('c', 3, 'z');
INSERT INTO "token" VALUES ('0000000000000000000000000000000a', 'v');
INSERT INTO "token" VALUES ('000000000000000000000000000000a0', 'v');
INSERT INTO "token" VALUES ('ff000000000000000000000000000000', 'v');
INSERT INTO "token" VALUES ('80000000000000000000000000000000', 'v');
INSERT INTO "node" VALUES (1, NULL, 'root');
INSERT INTO "node" VALUES (2, 1, 'child');
INSERT INTO "node" VALUES (3, 2, 'grandchild');
INSERT INTO "node" VALUES (4, NULL, 'other');
INSERT INTO "chicken" VALUES (1, 1);
INSERT INTO "egg" VALUES (1, 1);
INSERT INTO "owner" VALUES (1, 'ann');
INSERT INTO "owner" VALUES (2, 'bob');
INSERT INTO "owner" VALUES (9, 'cy');
INSERT INTO "pet" VALUES (1, 1, 'cat');
INSERT INTO "pet" VALUES (2, 1, 'dog');
INSERT INTO "pet" VALUES (3, 2, 'eel');
INSERT INTO "loan" VALUES (1, 1, 'book');
INSERT INTO "loan" VALUES (2, 2, 'car');
INSERT INTO "loan" VALUES (3, NULL, 'free');
INSERT INTO "stray" VALUES (1, 1, 'home');
INSERT INTO "stray" VALUES (2, 77, 'orphan');
INSERT INTO "We""ird {key} 'tä' 100%s" VALUES (1, 'p', 'g');
INSERT INTO "We""ird {key} 'tä' 100%s" VALUES (2, 'q', NULL);
INSERT INTO "alembic_version" VALUES ('0064');
INSERT INTO "st_change_log" VALUES (1, 'item', 1, 1.79582556908398580553e+09);
INSERT INTO "st_change_log" VALUES (2, 'item', 2, 1.79582556908398580553e+09);
INSERT INTO "st_change_log" VALUES (3, 'item', 1, 1.79582556916400933261e+09);
INSERT INTO "st_change_log" VALUES (4, 'item', 2, 1.79582556916400933261e+09);
INSERT INTO "st_change_log" VALUES (5, 'item', 3, 1.79582556916400933261e+09);
INSERT INTO "st_change_log" VALUES (6, 'item', 4, 1.79582556916400933261e+09);
INSERT INTO "st_change_log" VALUES (7, 'item', 5, 1.79582556916400933261e+09);
INSERT INTO "st_change_log" VALUES (8, 'item', 100, 1.79582556916400933261e+09);
INSERT INTO "st_change_log" VALUES (9, 'item', 5, 1.79582556918400526048e+09);
INSERT INTO "st_change_log" VALUES (10, 'pairkey', '[2,"a"]', 1.7958255691920115948e+09);
INSERT INTO "st_change_log" VALUES (11, 'pairkey', '[2,"c"]', 1.7958255691920115948e+09);
INSERT INTO "st_change_log" VALUES (12, 'owner', 3, 1.79582556920001792911e+09);
INSERT INTO "st_change_log" VALUES (13, 'owner', 9, 1.79582556920001792911e+09);
INSERT INTO "st_control" VALUES (1, 'c8ee09b2e6e144eea23f9824a9d589b8', 'sqlite', 'sqlite', 1, 'prepared', 1, 0, 0, NULL, NULL, NULL, 'journal_mode=delete');
INSERT INTO "st_watermark" VALUES (1, '0', 0, 0.0);
CREATE UNIQUE INDEX item_open ON item (note) WHERE qty < 0;
CREATE INDEX item_qty ON item (qty);
CREATE TRIGGER "st_capture_We""ird {key} 'tä' 100%s_insert" AFTER INSERT ON "We""ird {key} 'tä' 100%s"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('We"ird {key} ''tä'' 100%s', NEW."sel""ect {table} %", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_We""ird {key} 'tä' 100%s_update" AFTER UPDATE ON "We""ird {key} 'tä' 100%s"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('We"ird {key} ''tä'' 100%s', OLD."sel""ect {table} %", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'We"ird {key} ''tä'' 100%s', NEW."sel""ect {table} %", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."sel""ect {table} %" IS NOT OLD."sel""ect {table} %";
END;
CREATE TRIGGER "st_capture_We""ird {key} 'tä' 100%s_delete" AFTER DELETE ON "We""ird {key} 'tä' 100%s"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('We"ird {key} ''tä'' 100%s', OLD."sel""ect {table} %", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_We""ird {key} 'tä' 100%s_collide_insert0" BEFORE INSERT ON "We""ird {key} 'tä' 100%s"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'We"ird {key} ''tä'' 100%s', "sel""ect {table} %", (julianday('now') - 2440587.5) * 86400.0 FROM "We""ird {key} 'tä' 100%s" WHERE "order 'by' %s {name}" = NEW."order 'by' %s {name}";
END;
CREATE TRIGGER "st_capture_We""ird {key} 'tä' 100%s_collide_update0" BEFORE UPDATE OF "order 'by' %s {name}" ON "We""ird {key} 'tä' 100%s"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'We"ird {key} ''tä'' 100%s', "sel""ect {table} %", (julianday('now') - 2440587.5) * 86400.0 FROM "We""ird {key} 'tä' 100%s"
  WHERE "order 'by' %s {name}" = NEW."order 'by' %s {name}" AND NOT ("sel""ect {table} %" IS OLD."sel""ect {table} %");
END;
CREATE TRIGGER "st_capture_chicken_insert" AFTER INSERT ON "chicken"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('chicken', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_chicken_update" AFTER UPDATE ON "chicken"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('chicken', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'chicken', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_chicken_delete" AFTER DELETE ON "chicken"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('chicken', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_code_insert" AFTER INSERT ON "code"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('code', NEW."code", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_code_update" AFTER UPDATE ON "code"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('code', OLD."code", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'code', NEW."code", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."code" IS NOT OLD."code";
END;
CREATE TRIGGER "st_capture_code_delete" AFTER DELETE ON "code"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('code', OLD."code", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_code_collide_insert0" BEFORE INSERT ON "code"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'code', "code", (julianday('now') - 2440587.5) * 86400.0 FROM "code" WHERE "rank" = NEW."rank";
END;
CREATE TRIGGER "st_capture_code_collide_update0" BEFORE UPDATE OF "rank" ON "code"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'code', "code", (julianday('now') - 2440587.5) * 86400.0 FROM "code"
  WHERE "rank" = NEW."rank" AND NOT ("code" IS OLD."code");
END;
CREATE TRIGGER "st_capture_counter_insert" AFTER INSERT ON "counter"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('counter', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_counter_update" AFTER UPDATE ON "counter"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('counter', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'counter', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_counter_delete" AFTER DELETE ON "counter"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('counter', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_egg_insert" AFTER INSERT ON "egg"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('egg', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_egg_update" AFTER UPDATE ON "egg"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('egg', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'egg', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_egg_delete" AFTER DELETE ON "egg"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('egg', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_item_insert" AFTER INSERT ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('item', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_item_update" AFTER UPDATE ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('item', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'item', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_item_delete" AFTER DELETE ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('item', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_item_collide_insert0" BEFORE INSERT ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'item', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "item" WHERE "lane" = NEW."lane" AND "slot" = NEW."slot";
END;
CREATE TRIGGER "st_capture_item_collide_update0" BEFORE UPDATE OF "lane", "slot" ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'item', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "item"
  WHERE "lane" = NEW."lane" AND "slot" = NEW."slot" AND NOT ("id" IS OLD."id");
END;
CREATE TRIGGER "st_capture_item_collide_insert1" BEFORE INSERT ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'item', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "item" WHERE "name" = NEW."name";
END;
CREATE TRIGGER "st_capture_item_collide_update1" BEFORE UPDATE OF "name" ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'item', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "item"
  WHERE "name" = NEW."name" AND NOT ("id" IS OLD."id");
END;
CREATE TRIGGER "st_capture_item_collide_insert2" BEFORE INSERT ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'item', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "item" WHERE "note" = NEW."note";
END;
CREATE TRIGGER "st_capture_item_collide_update2" BEFORE UPDATE OF "note" ON "item"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'item', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "item"
  WHERE "note" = NEW."note" AND NOT ("id" IS OLD."id");
END;
CREATE TRIGGER "st_capture_kinds_insert" AFTER INSERT ON "kinds"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('kinds', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_kinds_update" AFTER UPDATE ON "kinds"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('kinds', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'kinds', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_kinds_delete" AFTER DELETE ON "kinds"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('kinds', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_loan_insert" AFTER INSERT ON "loan"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('loan', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_loan_update" AFTER UPDATE ON "loan"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('loan', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'loan', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_loan_delete" AFTER DELETE ON "loan"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('loan', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_node_insert" AFTER INSERT ON "node"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('node', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_node_update" AFTER UPDATE ON "node"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('node', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'node', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_node_delete" AFTER DELETE ON "node"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('node', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_owner_insert" AFTER INSERT ON "owner"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('owner', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_owner_update" AFTER UPDATE ON "owner"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('owner', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'owner', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_owner_delete" AFTER DELETE ON "owner"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('owner', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_owner_collide_insert0" BEFORE INSERT ON "owner"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'owner', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "owner" WHERE "name" = NEW."name";
END;
CREATE TRIGGER "st_capture_owner_collide_update0" BEFORE UPDATE OF "name" ON "owner"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'owner', "id", (julianday('now') - 2440587.5) * 86400.0 FROM "owner"
  WHERE "name" = NEW."name" AND NOT ("id" IS OLD."id");
END;
CREATE TRIGGER "st_capture_pairkey_insert" AFTER INSERT ON "pairkey"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('pairkey', json_array(NEW."a", NEW."b"), (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_pairkey_update" AFTER UPDATE ON "pairkey"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('pairkey', json_array(OLD."a", OLD."b"), (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'pairkey', json_array(NEW."a", NEW."b"), (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."a" IS NOT OLD."a" OR NEW."b" IS NOT OLD."b";
END;
CREATE TRIGGER "st_capture_pairkey_delete" AFTER DELETE ON "pairkey"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('pairkey', json_array(OLD."a", OLD."b"), (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_pet_insert" AFTER INSERT ON "pet"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('pet', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_pet_update" AFTER UPDATE ON "pet"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('pet', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'pet', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_pet_delete" AFTER DELETE ON "pet"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('pet', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_plain_insert" AFTER INSERT ON "plain"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('plain', NEW."code", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_plain_update" AFTER UPDATE ON "plain"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('plain', OLD."code", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'plain', NEW."code", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."code" IS NOT OLD."code";
END;
CREATE TRIGGER "st_capture_plain_delete" AFTER DELETE ON "plain"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('plain', OLD."code", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_plain_collide_insert0" BEFORE INSERT ON "plain"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'plain', "code", (julianday('now') - 2440587.5) * 86400.0 FROM "plain" WHERE "rank" = NEW."rank";
END;
CREATE TRIGGER "st_capture_plain_collide_update0" BEFORE UPDATE OF "rank" ON "plain"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) SELECT 'plain', "code", (julianday('now') - 2440587.5) * 86400.0 FROM "plain"
  WHERE "rank" = NEW."rank" AND NOT ("code" IS OLD."code");
END;
CREATE TRIGGER "st_capture_stray_insert" AFTER INSERT ON "stray"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('stray', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_stray_update" AFTER UPDATE ON "stray"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('stray', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'stray', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_stray_delete" AFTER DELETE ON "stray"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('stray', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_token_insert" AFTER INSERT ON "token"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('token', NEW."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER "st_capture_token_update" AFTER UPDATE ON "token"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('token', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
  INSERT INTO st_change_log (tbl, k, at) SELECT 'token', NEW."id", (julianday('now') - 2440587.5) * 86400.0 WHERE NEW."id" IS NOT OLD."id";
END;
CREATE TRIGGER "st_capture_token_delete" AFTER DELETE ON "token"
WHEN (SELECT applying = 0 FROM st_control WHERE id = 1)
BEGIN
  INSERT INTO st_change_log (tbl, k, at) VALUES ('token', OLD."id", (julianday('now') - 2440587.5) * 86400.0);
END;
CREATE TRIGGER st_fence BEFORE INSERT ON st_change_log
WHEN (SELECT writable = 0 AND applying = 0 FROM st_control WHERE id = 1)
BEGIN
  SELECT RAISE(ABORT, 'sqlite takes no application writes: a switch away from it is under way (epoch 1)');
END;
