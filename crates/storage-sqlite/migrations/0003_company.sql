-- RADIUS servers that check the first factor.
CREATE TABLE upstreams (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE upstream_servers (
    upstream BLOB NOT NULL REFERENCES upstreams (id) ON DELETE CASCADE,
    -- They are asked in this order.
    place INTEGER NOT NULL,
    address TEXT NOT NULL,
    secret_sealed BLOB NOT NULL,
    PRIMARY KEY (upstream, place)
) STRICT, WITHOUT ROWID;

ALTER TABLE resources ADD COLUMN upstream BLOB REFERENCES upstreams (id);
-- JSON; what is missing has its default.
ALTER TABLE resources ADD COLUMN policy TEXT NOT NULL DEFAULT '{}';

ALTER TABLE radius_clients ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE radius_clients ADD COLUMN name_folded TEXT NOT NULL DEFAULT '';
-- Until now each resource had one client.
UPDATE radius_clients SET
    name = (SELECT r.name FROM resources r WHERE r.id = radius_clients.resource),
    name_folded = (SELECT r.name_folded FROM resources r WHERE r.id = radius_clients.resource);
CREATE UNIQUE INDEX radius_clients_name ON radius_clients (name_folded);

CREATE TABLE match_rules (
    client BLOB NOT NULL REFERENCES radius_clients (id) ON DELETE CASCADE,
    -- The first that fits counts.
    place INTEGER NOT NULL,
    attribute TEXT NOT NULL,
    value TEXT NOT NULL,
    resource BLOB NOT NULL REFERENCES resources (id),
    PRIMARY KEY (client, place)
) STRICT, WITHOUT ROWID;

CREATE INDEX match_rules_resource ON match_rules (resource);

-- Both apart from the users: few have one.
CREATE TABLE bypasses (
    user BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    until INTEGER NOT NULL,
    reason TEXT NOT NULL,
    issuer TEXT NOT NULL,
    issued_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE chap_secrets (
    user BLOB PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret_sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE devices ADD COLUMN passkey_id BLOB;
-- JSON of the library that checks assertions.
ALTER TABLE devices ADD COLUMN passkey TEXT;
