//! rust_engineio, with one thread that polls it, as in its own examples.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};
use native_tls::TlsConnector;
use rust_engineio::{Client, ClientBuilder, Packet, PacketId};
use url::Url;

use crate::measure::{self, Figures, Watch};
use crate::ours::numbered;
use crate::{Carrier, Case, Scenario, WINDOW};

struct Peer {
    client: Client,
    messages: Receiver<Bytes>,
    ended: Arc<AtomicBool>,
}

impl Peer {
    fn connect(case: &Case, url: &str) -> Self {
        let (sender, messages) = unbounded();
        let mut builder = ClientBuilder::new(Url::parse(url).expect("a URL")).on_packet(move |packet| {
            if matches!(packet.packet_id, PacketId::Message | PacketId::MessageBinary) {
                let _ = sender.send(packet.data);
            }
        });
        if case.carrier == Carrier::Tls {
            let mut tls = TlsConnector::builder();
            tls.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
            builder = builder.tls_config(tls.build().expect("a connector"));
        }
        let client = match case.carrier {
            Carrier::Websocket | Carrier::Tls => builder.build_websocket(),
            Carrier::Polling => builder.build_polling(),
            Carrier::Upgrade => builder.build_websocket_with_upgrade(),
        }
        .expect("valid options");
        client.connect().expect("the server is up");
        let ended = Arc::new(AtomicBool::new(false));
        thread::spawn({
            let (client, ended) = (client.clone(), ended.clone());
            move || while !ended.load(Ordering::Relaxed) && matches!(client.poll(), Ok(Some(_))) {}
        });
        Peer { client, messages, ended }
    }

    fn send(&self, message: &Bytes, binary: bool) {
        let id = if binary { PacketId::MessageBinary } else { PacketId::Message };
        self.client.emit(Packet::new(id, message.clone())).expect("connected");
    }

    fn text(&self, text: impl Into<Bytes>) {
        self.send(&text.into(), false);
    }

    fn next(&self) -> Bytes {
        self.messages.recv().expect("messages come")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.client.disconnect();
    }
}

pub(crate) fn run(case: &Case, url: &str) -> Figures {
    if case.scenario == Scenario::Idle {
        return measure::idle(case.count, |_| Box::new(Peer::connect(case, url)));
    }
    if case.scenario == Scenario::Connect {
        let mut times = Vec::new();
        let watch = Watch::start();
        for _ in 0..case.count {
            let started = Instant::now();
            drop(Peer::connect(case, url));
            times.push(started.elapsed());
        }
        return Figures::of_times(times, watch.cpu());
    }
    let peer = Peer::connect(case, url);
    let message = Bytes::from("x".repeat(case.size));
    let watch = Watch::start();
    match case.scenario {
        Scenario::Rtt => {
            let mut times = Vec::new();
            for _ in 0..case.count {
                let sent = Instant::now();
                peer.send(&message, case.binary());
                peer.next();
                times.push(sent.elapsed());
            }
            return Figures::of_times(times, watch.cpu());
        }
        Scenario::Send => {
            peer.text("count");
            (0..case.count).for_each(|_| peer.send(&message, case.binary()));
            peer.text("total");
            peer.next();
        }
        Scenario::Recv => {
            peer.text(format!("flood {} {}", case.count, case.size));
            (0..case.count).for_each(|_| drop(peer.next()));
        }
        _ => {
            (0..WINDOW).for_each(|number| peer.text(numbered(number, case.size)));
            for number in 0..case.count {
                assert_eq!(peer.next(), numbered(number, case.size), "in order");
                if number + WINDOW < case.count {
                    peer.text(numbered(number + WINDOW, case.size));
                }
            }
        }
    }
    watch.stop(case.count)
}
