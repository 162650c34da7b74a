-- Identifiers are 16 octets, times are microseconds since the epoch (UTC), words are those of the domain's enums.
-- Columns that end in _sealed hold values of the vault: version octet, nonce, ciphertext with tag.

CREATE TABLE deployment (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    -- A known text: opens only under the key file that the database was made with.
    check_sealed BLOB NOT NULL
) STRICT;

CREATE TABLE server_secrets (
    name TEXT PRIMARY KEY,
    value_sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    password TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    id BLOB PRIMARY KEY,
    user BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name BLOB NOT NULL,
    platform BLOB NOT NULL,
    key BLOB NOT NULL,
    thumbprint TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    totp_sealed BLOB,
    push_endpoint_sealed BLOB,
    push_p256dh BLOB,
    push_auth_sealed BLOB,
    created_at INTEGER NOT NULL,
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_user ON devices (user);

-- Apart from the devices because it changes with every code: small rows, few pages to write.
CREATE TABLE totp_steps (
    device BLOB PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    last_step INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE limits (
    user BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Empty: everywhere.
    resource BLOB NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (user, resource)
) STRICT, WITHOUT ROWID;

CREATE TABLE challenges (
    id BLOB PRIMARY KEY,
    login BLOB NOT NULL,
    user BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    resource BLOB NOT NULL,
    nonce BLOB NOT NULL,
    context BLOB NOT NULL,
    number_mode TEXT NOT NULL,
    user_verification TEXT NOT NULL,
    -- Identifiers one after the other.
    devices BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- 'pending', or how it was closed.
    state TEXT NOT NULL,
    closed_at INTEGER,
    -- The decision that closed it, JSON.
    decision TEXT,
    reported_by BLOB,
    reported_at INTEGER,
    CHECK ((state = 'pending') = (closed_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX challenges_pending ON challenges (created_at) WHERE state = 'pending';
CREATE INDEX challenges_history ON challenges (user, closed_at);
CREATE INDEX challenges_closed ON challenges (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE activations (
    id BLOB PRIMARY KEY,
    user BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    handle TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    issuer TEXT NOT NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    wrong_secrets INTEGER NOT NULL,
    -- 'open', 'redeemed' or 'burnt'.
    state TEXT NOT NULL,
    device BLOB,
    redeemed_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX activations_handle ON activations (handle, issued_at);
CREATE INDEX activations_user ON activations (user);
CREATE INDEX activations_issued ON activations (issued_at);

CREATE TABLE resources (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    first_factor TEXT NOT NULL,
    retries TEXT NOT NULL,
    answer_by INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE radius_clients (
    id BLOB PRIMARY KEY,
    resource BLOB NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    -- JSON array of addresses and networks.
    networks TEXT NOT NULL,
    secret_sealed BLOB NOT NULL,
    -- Keyed hash: finds a secret that two clients would share.
    secret_hash BLOB NOT NULL UNIQUE,
    require_message_authenticator INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX radius_clients_resource ON radius_clients (resource);

-- Field by field what the hash of a record covers; texts that come from outside keep their octets.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    event TEXT NOT NULL,
    login TEXT,
    user_id TEXT,
    user_typed BLOB,
    actor TEXT NOT NULL,
    resource TEXT,
    client TEXT,
    door TEXT,
    source BLOB,
    source_trust TEXT,
    factor TEXT,
    device TEXT,
    number_mode TEXT,
    result TEXT,
    reason TEXT,
    binding TEXT,
    detail TEXT,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
