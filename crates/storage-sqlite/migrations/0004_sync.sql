-- Users who are read from directories ahead of their logins.

-- JSON: how often, by which rules.
ALTER TABLE directories ADD COLUMN sync TEXT NOT NULL DEFAULT '{}';

-- Why a synchronisation disabled a user, and when it found that; both or neither, and never of one who is enabled.
ALTER TABLE users ADD COLUMN held_why TEXT;
ALTER TABLE users ADD COLUMN held_since INTEGER;

CREATE TABLE directory_syncs (
    directory BLOB PRIMARY KEY REFERENCES directories (id) ON DELETE CASCADE,
    mark TEXT,
    whole_at INTEGER,
    done_at INTEGER,
    -- The last run.
    started_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    whole INTEGER NOT NULL,
    -- JSON.
    counts TEXT NOT NULL,
    text TEXT
) STRICT, WITHOUT ROWID;
