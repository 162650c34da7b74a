-- Sign-in windows: kept for as long as closed challenges, for the history and so that none is opened twice.
CREATE TABLE sign_in_windows (
    device BLOB NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    -- Made by the device.
    id TEXT NOT NULL,
    user BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    resource BLOB NOT NULL,
    application TEXT NOT NULL,
    user_verification TEXT NOT NULL,
    device_time TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- 'open', or how it was closed.
    state TEXT NOT NULL,
    closed_at INTEGER,
    PRIMARY KEY (device, id),
    CHECK ((state = 'open') = (closed_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_in_windows_open ON sign_in_windows (opened_at) WHERE state = 'open';
CREATE INDEX sign_in_windows_history ON sign_in_windows (user, closed_at);
CREATE INDEX sign_in_windows_closed ON sign_in_windows (closed_at) WHERE closed_at IS NOT NULL;
