-- By which certificate a client is known that speaks RADIUS over TLS ("sha256:" and a fingerprint, or a DNS name); NULL: it
-- speaks UDP. Its networks bound where its connections come from, and its secret_hash is that of this text.
ALTER TABLE radius_clients ADD COLUMN tls_identity TEXT;
-- The same of a server that is asked over TLS.
ALTER TABLE upstream_servers ADD COLUMN tls_identity TEXT;
