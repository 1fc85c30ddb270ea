//! Hooks over HTTP: batches in order; any status except 2xx is retried.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use super::daemon::{House, PATIENCE, until};
use super::support::{POOLS, events, hook, house, ids, leases};

/// A request as it arrived: its head in lower case, and its body.
pub type Asked = (String, Value);

/// A server that answers successive requests with these status lines, then with the last one again.
pub fn receiver(answers: &'static [&'static str]) -> (SocketAddr, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let answer = answers[count.min(answers.len() - 1)];
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = serve(stream, answer).unwrap();
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

/// Reads one request and answers it.
pub fn serve(stream: impl Read + Write, answer: &str) -> io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body)?;
    let text = "not today";
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    reader.get_mut().write_all(answer.as_bytes())?;
    reader.get_mut().flush()?;
    Ok((head, serde_json::from_slice(&body).unwrap()))
}

fn hooked(address: SocketAddr, more: &str) -> String {
    format!("[[hook]]\nname = \"web\"\nurl = \"http://{address}/events?from=gipam\"\n{more}")
}

pub fn delivered(asked: &Value) -> Vec<Value> {
    asked["events"].as_array().unwrap().clone()
}

#[test]
fn a_webhook_gets_events_in_order_and_again_until_it_accepts_them() {
    let (address, asked) = receiver(&["503 Busy", "200 OK"]);
    let house = house(&hooked(address, ""));
    let daemon = house.start();
    leases(&mut daemon.wire(), 1);
    let (head, refused) = asked.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("post /events?from=gipam http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(refused["hook"], "web");
    let row = until("the hook fails", || Some(hook(&daemon)).filter(|row| row["last_error"].is_string()));
    assert!(row["last_error"].as_str().unwrap().contains("answered 503: not today"), "{row}");
    leases(&mut daemon.wire(), 1);
    let (_, again) = asked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(again, refused, "the same events are sent again with the same numbers");
    let mut all = delivered(&again);
    while all.len() < 4 {
        all.extend(delivered(&asked.recv_timeout(PATIENCE).unwrap().1));
    }
    assert_eq!(events(&all), ["subnet_granted", "leased", "subnet_granted", "leased"]);
    assert!(ids(&all).windows(2).all(|pair| pair[1] == pair[0] + 1));
    until("no event is queued", || (hook(&daemon)["behind"] == 0).then_some(()));
    daemon.stop();
}

#[test]
fn a_webhook_catches_up_in_batches() {
    let (address, asked) = receiver(&["204 No Content"]);
    let house = house("");
    let daemon = house.start();
    leases(&mut daemon.wire(), 11);
    daemon.stop();
    house.configure(&(POOLS.to_owned() + &hooked(address, "batch = 5\nfrom = \"start\"\n")));
    let daemon = house.start();
    let sizes: Vec<usize> =
        (0..3).map(|_| delivered(&asked.recv_timeout(PATIENCE).unwrap().1).len()).collect();
    assert_eq!(sizes, [5, 5, 2]);
    daemon.stop();
}

#[test]
fn an_unreachable_server_does_not_block_requests() {
    // The port of a listener that is already closed.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let house = house(&hooked(address, ""));
    let daemon = house.start();
    leases(&mut daemon.wire(), 5);
    let row = until("the hook fails", || Some(hook(&daemon)).filter(|row| row["last_error"].is_string()));
    assert!(row["last_error"].as_str().unwrap().contains("cannot reach"), "{row}");
    assert!(daemon.stop().success());
}

#[test]
fn an_unusable_target_is_refused_with_its_position() {
    for (toml, words) in [
        ("url = \"http://hooks.example/\"", "does not resolve host names"),
        ("", "either a command or a url"),
        ("command = [\"true\"]\nurl = \"http://192.0.2.7/\"", "either a command or a url"),
        ("command = []", "must be a list: the program"),
        ("command = [\"true\"]\nbatch = 3", "one event at a time"),
        ("url = \"http://192.0.2.7/\"\nbatch = 0", "must be from 1 to 256"),
        ("command = [\"true\"]\nevents = [\"eaten\"]", "unknown event \"eaten\"; the events are: leased"),
        ("command = [\"true\"]\ntimeout = \"0\"", "above 0"),
        ("command = [\"true\"]\n[[hook]]\nname = \"x\"\ncommand = [\"true\"]", "duplicate hook \"x\""),
    ] {
        let house: House = house(&format!("[[hook]]\nname = \"x\"\n{toml}\n"));
        let (code, said) = house.refuse();
        assert_eq!(code, 2, "{toml}: {said}");
        assert!(said.contains(words) && said.contains("gipam.toml, line"), "{toml}: {said}");
    }
}
