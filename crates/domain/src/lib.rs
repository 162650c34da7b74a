//! The words of countersign as types: users, devices, challenges, limits, audit.
