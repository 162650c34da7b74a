//! The admin API on a local socket.
