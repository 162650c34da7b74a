-- Runs with foreign keys off, and is checked for them afterwards: that is how SQLite wants a table to be replaced.

CREATE TABLE directories (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    -- JSON, without the password.
    settings TEXT NOT NULL,
    password_sealed BLOB NOT NULL,
    lockout_threshold INTEGER NOT NULL,
    lockout_window INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Names are unique among users who were added here. What a directory calls its users is its own affair.
CREATE TABLE users_new (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    display_name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    password TEXT,
    created_at INTEGER NOT NULL,
    -- Both, or neither.
    directory BLOB REFERENCES directories (id),
    entry TEXT,
    CHECK ((directory IS NULL) = (entry IS NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO users_new (id, name, name_folded, display_name, enabled, password, created_at)
    SELECT id, name, name_folded, display_name, enabled, password, created_at FROM users;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;

CREATE UNIQUE INDEX users_local_name ON users (name_folded) WHERE directory IS NULL;
CREATE INDEX users_name ON users (name_folded);
CREATE UNIQUE INDEX users_entry ON users (directory, entry) WHERE directory IS NOT NULL;

ALTER TABLE resources ADD COLUMN directory BLOB REFERENCES directories (id);
-- JSON array of names.
ALTER TABLE resources ADD COLUMN allow_groups TEXT NOT NULL DEFAULT '[]';
