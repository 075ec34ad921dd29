//! A relay in front of a host's sshd that lets every byte wait, as a long line would.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use landfall::model::machine::HostAt;

/// Starts the relay, which waits for `delay` in each direction. Gives its port on the loopback address.
pub(crate) fn start(at: &HostAt, delay: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = format!("{}:{}", at.address, at.port);
    thread::spawn(move || {
        for visitor in listener.incoming().flatten() {
            let host = TcpStream::connect(&target).unwrap();
            visitor.set_nodelay(true).unwrap();
            host.set_nodelay(true).unwrap();
            carry(visitor.try_clone().unwrap(), host.try_clone().unwrap(), delay);
            carry(host, visitor, delay);
        }
    });
    port
}

/// Carries bytes one way: one thread notes when they came, another lets them go when their time has come.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while let Ok(n) = from.read(&mut buffer)
            && n > 0
            && sender.send((Instant::now() + delay, buffer[..n].to_vec())).is_ok()
        {}
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
