//! Tests of the login engine, which knows no clock, no socket and no disk: all three are played here.

#![cfg(test)]

mod database;
mod model;
mod rules;
