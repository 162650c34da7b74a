//! The desk: runs the login engine over storage for every door and every device.
