//! Floor for `radload`: the cheapest possible server on the same machine.
//!   udpecho --listen 127.0.0.1:19000 --mode raw      bytes back unchanged (radload --raw)
//!   udpecho --listen 127.0.0.1:19000 --mode radius   full RADIUS check + Access-Accept
//! `--threads N` opens N SO_REUSEPORT sockets. `--seconds` bounds its life.
use clap::Parser;
use radload::{Secret, answer};
use std::{net::SocketAddr, time::Duration};

#[derive(Parser)]
struct Args {
    #[arg(long, default_value = "127.0.0.1:19000")]
    listen: SocketAddr,
    #[arg(long, default_value = "raw", value_parser = ["raw", "radius"])]
    mode: String,
    #[arg(long, default_value = "testing123")]
    secret: String,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

fn main() {
    let a = Args::parse();
    for _ in 0..a.threads {
        let s = socket2::Socket::new(socket2::Domain::for_address(a.listen), socket2::Type::DGRAM, None).unwrap();
        s.set_reuse_port(true).unwrap();
        let _ = s.set_recv_buffer_size(8 << 20);
        s.bind(&a.listen.into()).unwrap();
        let s: std::net::UdpSocket = s.into();
        let (radius, secret) = (a.mode == "radius", Secret::new(a.secret.as_bytes()));
        std::thread::spawn(move || {
            let (mut b, mut out) = ([0u8; 4096], Vec::new());
            loop {
                let Ok((n, from)) = s.recv_from(&mut b) else { continue };
                let reply = if !radius {
                    &b[..n]
                } else if answer(&mut b[..n], &secret, &mut out) {
                    &out[..]
                } else {
                    continue;
                };
                let _ = s.send_to(reply, from);
            }
        });
    }
    std::thread::sleep(Duration::from_secs(a.seconds));
}
