-- Finds the records of copies and restores without reading the others, and costs those nothing. The words are those of
-- EventKind::MILESTONES; a query must repeat the condition to be answered by this index.
CREATE INDEX audit_milestones ON audit (seq) WHERE event IN ('backup.made', 'server.restored');
