-- Whether a server keeps accounting (1) or checks logins (0). Places are counted over both.
ALTER TABLE upstream_servers ADD COLUMN accounting INTEGER NOT NULL DEFAULT 0 CHECK (accounting IN (0, 1));
