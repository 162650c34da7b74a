//! SQLite behind the storage traits: one writer with group commit.
