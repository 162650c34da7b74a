//! RADIUS wire codec, authenticators and transaction table, without I/O.
