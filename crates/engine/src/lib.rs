//! The login engine: events in, writes and effects out.
