-- The shared secret before the present one, which is valid until a time in microseconds; both or neither.
ALTER TABLE radius_clients ADD COLUMN previous_sealed BLOB;
ALTER TABLE radius_clients ADD COLUMN previous_until INTEGER CHECK ((previous_sealed IS NULL) = (previous_until IS NULL));
