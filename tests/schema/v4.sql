-- The store of Menshen, version 4. A fresh store is made of this text; an older one is brought here by
-- upgrade.rs, and a test compares the two. Every version of this text is kept in tests/schema/.
--
-- "sealed" is a value encrypted with the device key (seal.rs): nonce (24 bytes), ciphertext, tag (16 bytes),
-- bound to its table, column and row. Whoever holds the flash chip without the key learns from this file how
-- many people and records there are, the ids the platforms gave them and their time rules, when somebody was at
-- the gate, whether the door may have opened, and when an alarm went off, and no more.
--
-- What a later version adds stands at the end, where an upgraded store has it too: salvage.rs seeks the tables
-- of a file whose list of them is damaged where a fresh store has them.
--
-- Rows that others refer to are AUTOINCREMENT: the number of a deleted row never comes back, so that a
-- gallery, a page or a platform that still holds it cannot take a new thing for the old one.

-- Facts about the store itself.
CREATE TABLE meta (
    -- key_check: a sealed constant, by which a wrong device key is told from a damaged store.
    -- lived: JSON {"seconds", "latest_ms"}: how long the store has lived, by which records age (retention.rs).
    -- readable_by, written_by: the oldest version that may use this store, and the oldest that has written to it
    --   since it had this version, in decimal digits (upgrade.rs).
    -- floors: JSON {table: number}: numbers given out when rows were last removed, a second copy of
    --   sqlite_sequence for the case that its page is damaged.
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- Everybody the gate knows.
CREATE TABLE people (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Who enrolled them: qyzn, terminal_ws, local.
    origin TEXT NOT NULL,
    -- Their id there (QYZN personId, terminal WebSocket id). In clear, because every order names it.
    key TEXT NOT NULL,
    -- Passages left; NULL is without limit.
    passes_left INTEGER CHECK (passes_left BETWEEN 0 AND 4294967295),
    -- JSON: kind, validity, schedule, mode (people.rs, Rules).
    rules TEXT NOT NULL,
    -- Sealed JSON: name, code, identity number, card (people.rs, Facts).
    facts BLOB NOT NULL,
    -- Keyed hash of the card's canonical number, NULL without one (seal.rs, fingerprint).
    card_hash BLOB,
    -- The same of the identity number.
    id_number_hash BLOB,
    UNIQUE (origin, key)
) STRICT;
CREATE INDEX people_by_card ON people (card_hash) WHERE card_hash IS NOT NULL;
CREATE INDEX people_by_id_number ON people (id_number_hash) WHERE id_number_hash IS NOT NULL;

-- When each person passed last, for the interval between two passages. Outlives the records.
CREATE TABLE last_passage (
    person INTEGER PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE,
    -- Milliseconds since 1970 in UTC by the gate's clock.
    at_ms INTEGER NOT NULL
) STRICT;

-- Enrolled faces, without their pictures, so that loading every template reads nothing else.
CREATE TABLE faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    -- The person's origin, repeated here because a face id is unique within it.
    origin TEXT NOT NULL,
    -- QYZN faceId.
    face_id TEXT NOT NULL,
    -- Id of the model that made the template; empty when the face must be enrolled again from its picture.
    model TEXT NOT NULL,
    -- Sealed; only vision knows what the bytes mean.
    template BLOB NOT NULL,
    UNIQUE (origin, face_id)
) STRICT;
CREATE INDEX faces_by_person ON faces (person);
CREATE INDEX faces_by_model ON faces (model, person);

-- Pictures are rows, not files: they commit with what refers to them under one fsync, so that there is no
-- picture without its row and no row without its picture, whenever the power goes.
CREATE TABLE face_pictures (
    face INTEGER PRIMARY KEY REFERENCES faces (id) ON DELETE CASCADE,
    -- Sealed: the bytes as they came.
    picture BLOB NOT NULL
) STRICT;

-- What happened.
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- How long the store had lived, in seconds, when the record was made.
    lived_s INTEGER NOT NULL,
    -- Sealed JSON (types.rs, RecordFacts).
    facts BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_age ON records (lived_s);

-- Pictures of records.
CREATE TABLE record_pictures (
    id INTEGER PRIMARY KEY,
    record INTEGER NOT NULL REFERENCES records (id) ON DELETE CASCADE,
    -- snap, document.
    kind TEXT NOT NULL,
    -- Sealed JPEG.
    picture BLOB NOT NULL,
    UNIQUE (record, kind)
) STRICT;

-- Who is told about a record, and whether they have acknowledged it. The number is what a platform's
-- sequence is made of: it stays with the row until the record goes, and never comes back.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    record INTEGER NOT NULL REFERENCES records (id) ON DELETE CASCADE,
    -- qyzn, http_push.
    destination TEXT NOT NULL,
    -- 0 while they are owed it; 1 when they have acknowledged it, or when it was made before they were there
    -- and they have asked for it since (asked_again).
    delivered INTEGER NOT NULL DEFAULT 0 CHECK (delivered IN (0, 1)),
    UNIQUE (record, destination)
) STRICT;
CREATE INDEX outbox_waiting ON outbox (destination, id) WHERE delivered = 0;

-- Settings that a platform or a technician has changed: one JSON text by key.
CREATE TABLE settings (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- What the technician must be told, one row for each kind of thing.
CREATE TABLE notices (
    -- records_dropped, salvaged.
    kind TEXT NOT NULL PRIMARY KEY,
    -- How many, in all.
    count INTEGER NOT NULL,
    -- First and last time, milliseconds since 1970 in UTC by the gate's clock.
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL
) STRICT;

-- Since version 2: what must be found about records without opening 100 000 sealed values.
CREATE TABLE record_times (
    record INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
    -- When it happened, as in its facts: milliseconds since 1970 in UTC by the gate's clock.
    at_ms INTEGER NOT NULL,
    -- As in its facts, by QYZN's numbers: 0 no match, 1 granted, 2 expired, 3 outside the periods.
    result INTEGER NOT NULL
) STRICT;
CREATE INDEX record_times_by_time ON record_times (at_ms, record);

-- Since version 2: what somebody has had, or could never have had, and asks for again. A row goes when they
-- have acknowledged it once more.
CREATE TABLE asked_again (
    outbox INTEGER PRIMARY KEY REFERENCES outbox (id) ON DELETE CASCADE
) STRICT;

-- Since version 3: what happened at the gate's own contacts. In clear: it names nobody.
CREATE TABLE incidents (
    -- Counts up; the oldest of a kind go first, so that the highest is never given out again.
    id INTEGER PRIMARY KEY,
    -- exit_button, door_forced, door_held, tamper.
    kind TEXT NOT NULL,
    -- When it began, and when it ended (NULL while it lasts): milliseconds since 1970 in UTC by the gate's clock.
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER
) STRICT;
CREATE INDEX incidents_that_last ON incidents (kind) WHERE ended_ms IS NULL;
