-- The ScaledJobs that ever had a record. Rows refer to them by number, so that indexes stay small.
CREATE TABLE scaled_job (
	id        INTEGER PRIMARY KEY,
	namespace TEXT NOT NULL,
	name      TEXT NOT NULL,
	UNIQUE (namespace, name)
);

-- How a Job ended: an outcome and a category; both empty while it has not.
CREATE TABLE kind (
	id       INTEGER PRIMARY KEY,
	outcome  TEXT NOT NULL,
	category TEXT NOT NULL,
	UNIQUE (outcome, category)
);

-- id is the time of creation in milliseconds since 1970, times 2^20, plus a number: its order is that of creation.
CREATE TABLE record (
	id                  INTEGER PRIMARY KEY,
	uid                 TEXT NOT NULL,
	scaled_job          INTEGER NOT NULL,
	kind                INTEGER NOT NULL,
	sequence            INTEGER NOT NULL,
	message_id          TEXT NOT NULL,
	finished_us         INTEGER,
	wait_us             INTEGER,
	startup_us          INTEGER,
	run_us              INTEGER,
	cpu_seconds         REAL NOT NULL,
	memory_byte_seconds REAL NOT NULL,
	document            TEXT NOT NULL
);

-- SQLite adds the id to each index.
CREATE UNIQUE INDEX record_uid ON record (uid);
CREATE INDEX record_sequence ON record (scaled_job, sequence);
CREATE INDEX record_scaled_job ON record (scaled_job, kind);
CREATE INDEX record_kind ON record (kind);
CREATE INDEX record_message ON record (message_id, scaled_job) WHERE message_id <> '';
-- All that statistics ask for, so that they need not read the rows.
CREATE INDEX record_finished ON record (
	scaled_job, finished_us, kind, wait_us, startup_us, run_us, cpu_seconds, memory_byte_seconds
) WHERE finished_us IS NOT NULL;

-- What was finished on a day, in days since 1970, UTC.
CREATE TABLE rollup (
	scaled_job INTEGER NOT NULL,
	day        INTEGER NOT NULL,
	finished   INTEGER NOT NULL,
	document   TEXT NOT NULL,
	PRIMARY KEY (scaled_job, day)
) WITHOUT ROWID;

-- The words of each record by its id. They come as the program has cut them: nothing is left to cut here.
CREATE VIRTUAL TABLE search USING fts5 (
	words, content = '', contentless_delete = 1, detail = none, tokenize = "ascii tokenchars '='"
);
