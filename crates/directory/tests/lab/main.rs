//! The library against real directories: Samba as domain controller of Active Directory, and OpenLDAP.
//!
//! `tests/e2e/test_directory.py` starts both and names their folder in `COUNTERSIGN_LAB_DIRECTORY`; without it the tests
//! here have nothing to do.
#![cfg(test)]

mod accounts;
mod groups;
mod names;
mod servers;
mod support;
mod sync;
mod tls;
mod walk;
