//! HTTP: the phone app and the device API for phones, and the admin API on a local socket.

pub mod activation;
pub mod admin;
pub mod app;
pub mod device;
pub mod restore;
pub mod seam;
pub mod server_keys;
