-- The ScaledJobs that ever had a record. Rows refer to them by number, so that indexes stay small.
CREATE TABLE scaled_job (
	id        BIGINT PRIMARY KEY,
	namespace TEXT NOT NULL,
	name      TEXT NOT NULL,
	UNIQUE (namespace, name)
);

-- How a Job ended: an outcome and a category; both empty while it has not.
CREATE TABLE kind (
	id       BIGINT PRIMARY KEY,
	outcome  TEXT NOT NULL,
	category TEXT NOT NULL,
	UNIQUE (outcome, category)
);

-- id is the time of creation in milliseconds since 1970, times 2^20, plus a number: its order is that of creation.
CREATE TABLE record (
	id                  BIGINT PRIMARY KEY,
	uid                 TEXT NOT NULL,
	scaled_job          BIGINT NOT NULL,
	kind                BIGINT NOT NULL,
	sequence            BIGINT NOT NULL,
	message_id          TEXT NOT NULL,
	finished_us         BIGINT,
	wait_us             BIGINT,
	startup_us          BIGINT,
	run_us              BIGINT,
	cpu_seconds         DOUBLE PRECISION NOT NULL,
	memory_byte_seconds DOUBLE PRECISION NOT NULL,
	document            TEXT NOT NULL,
	-- The words of the record, as the program has cut them.
	words               TSVECTOR NOT NULL
);

CREATE UNIQUE INDEX record_uid ON record (uid);
CREATE INDEX record_sequence ON record (scaled_job, sequence, id);
CREATE INDEX record_scaled_job ON record (scaled_job, kind, id);
CREATE INDEX record_kind ON record (kind, id);
CREATE INDEX record_message ON record (message_id, scaled_job, id) WHERE message_id <> '';
-- All that statistics ask for, so that they need not read the rows.
CREATE INDEX record_finished ON record (scaled_job, finished_us)
	INCLUDE (kind, wait_us, startup_us, run_us, cpu_seconds, memory_byte_seconds) WHERE finished_us IS NOT NULL;
CREATE INDEX record_words ON record USING gin (words);

-- What was finished on a day, in days since 1970, UTC.
CREATE TABLE rollup (
	scaled_job BIGINT NOT NULL,
	day        BIGINT NOT NULL,
	finished   BIGINT NOT NULL,
	document   TEXT NOT NULL,
	PRIMARY KEY (scaled_job, day)
);
