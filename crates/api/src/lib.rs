//! HTTP: the device API for phones and the admin API on a local socket.
