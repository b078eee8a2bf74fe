//! engineio, used as its documentation recommends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use engineio::{Client, ConnectOptions, Message, TransportKind};

use crate::measure::{self, Figures, Watch};
use crate::{Carrier, Case, Scenario, WINDOW};

fn client(case: &Case) -> Client {
    Client::builder().ssl_verify(false).packets_per_post(case.packets).build().expect("valid options")
}

fn connect(client: &Client, case: &Case, url: &str) {
    let options = match case.carrier {
        Carrier::Polling => ConnectOptions::new().transports([TransportKind::Polling]),
        Carrier::Upgrade => ConnectOptions::new(),
        Carrier::Websocket | Carrier::Tls => ConnectOptions::new().transports([TransportKind::WebSocket]),
    };
    client.connect_with(url, options).expect("the server is up");
}

fn message(case: &Case) -> Message {
    let text = "x".repeat(case.size);
    if case.binary() { Bytes::from(text).into() } else { text.into() }
}

pub(crate) fn run(case: &Case, url: &str) -> Figures {
    match case.scenario {
        Scenario::Rtt => rtt(case, url),
        Scenario::Send => send(case, url),
        Scenario::Recv => recv(case, url),
        Scenario::Pipeline => pipeline(case, url),
        Scenario::Connect => {
            let client = client(case);
            // The first connection of the process loads the list of TLS authorities, and does not count.
            connect(&client, case, url);
            client.disconnect().expect("connected");
            let mut times = Vec::new();
            let watch = Watch::start();
            for _ in 0..case.count {
                let started = Instant::now();
                connect(&client, case, url);
                client.disconnect().expect("connected");
                times.push(started.elapsed());
            }
            Figures::of_times(times, watch.cpu())
        }
        Scenario::Idle => measure::idle(case.count, |_| {
            let client = client(case);
            connect(&client, case, url);
            Box::new(client)
        }),
    }
}

fn rtt(case: &Case, url: &str) -> Figures {
    let client = client(case);
    let (done, times) = bounded(1);
    let (message, count) = (message(case), case.count);
    let again = message.clone();
    let mut sent = Instant::now();
    let mut measured = Vec::with_capacity(count);
    // The first round trip is not measured, because another thread starts it.
    let mut warm = false;
    client.on_message(move |client, _| {
        if std::mem::replace(&mut warm, true) {
            measured.push(sent.elapsed());
        }
        if measured.len() == count {
            return done.send(std::mem::take(&mut measured)).map_err(|e| e.to_string());
        }
        sent = Instant::now();
        client.send(again.clone()).map_err(|e| e.to_string())
    });
    connect(&client, case, url);
    let watch = Watch::start();
    client.send(message).expect("connected");
    Figures::of_times(times.recv().expect("the echoes come"), watch.cpu())
}

/// A channel that gets a signal when `after` messages have arrived.
fn signalling(client: &Client, after: usize) -> Receiver<()> {
    let (done, ended) = bounded(1);
    let seen = AtomicUsize::new(0);
    client.on_message(move |_, _| signal(&seen, after, &done));
    ended
}

fn signal(seen: &AtomicUsize, after: usize, done: &Sender<()>) {
    if seen.fetch_add(1, Ordering::Relaxed) + 1 == after {
        done.send(()).expect("somebody waits");
    }
}

fn send(case: &Case, url: &str) -> Figures {
    let client = client(case);
    let ended = signalling(&client, 1);
    connect(&client, case, url);
    client.send("count").expect("connected");
    let message = message(case);
    let watch = Watch::start();
    for _ in 0..case.count {
        client.send(message.clone()).expect("connected");
    }
    client.send("total").expect("connected");
    ended.recv().expect("the total comes");
    watch.stop(case.count)
}

fn recv(case: &Case, url: &str) -> Figures {
    let client = client(case);
    let ended = signalling(&client, case.count);
    connect(&client, case, url);
    let watch = Watch::start();
    client.send(format!("flood {} {}", case.count, case.size)).expect("connected");
    ended.recv().expect("the flood comes");
    watch.stop(case.count)
}

fn pipeline(case: &Case, url: &str) -> Figures {
    let client = client(case);
    let (done, ended) = bounded(1);
    let (count, size) = (case.count, case.size);
    let (mut begun, mut echoed) = (false, 0);
    client.on_message(move |client, message| {
        if !std::mem::replace(&mut begun, true) {
            // All messages are sent from this handler, so they are in order.
            return (0..WINDOW)
                .try_for_each(|number| client.send(numbered(number, size)))
                .map_err(|e| e.to_string());
        }
        assert_eq!(message.as_text(), Some(&*numbered(echoed, size)), "in order");
        echoed += 1;
        if echoed == count {
            return done.send(()).map_err(|e| e.to_string());
        }
        match echoed + WINDOW <= count {
            true => client.send(numbered(echoed + WINDOW - 1, size)).map_err(|e| e.to_string()),
            false => Ok(()),
        }
    });
    connect(&client, case, url);
    let watch = Watch::start();
    client.send("go").expect("connected");
    ended.recv().expect("the echoes come");
    watch.stop(count)
}

pub(crate) fn numbered(number: usize, size: usize) -> String {
    format!("{number:0size$}")
}
