-- Finds the logins of a user that nobody was asked about without reading the others, and costs those nothing. A query must
-- repeat the condition to be answered by this index.
CREATE INDEX audit_unasked ON audit (user_id, seq) WHERE factor IN ('bypass', 'remembered');
