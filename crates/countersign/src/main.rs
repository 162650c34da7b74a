//! countersign: a multi-factor authentication server on the company's own machine. One program: server, command line,
//! and the terminal parts to try it with.

mod cli;
mod client;
mod commands;
mod config;
mod demo;
mod directories;
mod doctor;
mod facts;
mod listener;
mod logging;
mod output;
mod phone;
mod push;
mod qr;
mod radius_clients;
mod radius_login;
mod radsec;
mod rotation;
mod runtime;
mod serve;
mod space;
mod tls;
mod upkeep;
mod upstreams;

/// Logins come and go in thousands, made by one thread and dropped by another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main(std::env::args_os())
}
