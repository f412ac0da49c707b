//! Platforms that are broken or mean harm: whatever they send, known faces pass.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use menshen::platform::qyzn::codec::{MsgType, encode};
use process::{Agent, menshen, prepared};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What is done to a terminal that connects: one thing each time, in turn.
type Attack = (&'static str, fn(&mut TcpStream) -> std::io::Result<()>);

/// A listener that does harm. It counts how often it did what.
struct Hostile {
    address: SocketAddr,
    done: Arc<Mutex<Vec<&'static str>>>,
}

impl Hostile {
    fn new(attacks: &'static [Attack]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&done);
        let turn = AtomicUsize::new(0);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (name, attack) = attacks[turn.fetch_add(1, Ordering::Relaxed) % attacks.len()];
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                    // The terminal may well hang up in the middle.
                    let _ = attack(&mut stream);
                    noted.lock().unwrap().push(name);
                });
            }
        });
        Self { address, done }
    }

    fn has_done(&self, name: &str) -> bool {
        self.done.lock().unwrap().contains(&name)
    }
}

/// Bytes that look random, the same each time.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

fn request(seq: u32, body: &[u8]) -> Vec<u8> {
    encode(3, MsgType::Request, 0, seq, body)
}

/// Lets the terminal in as far as it needs: answers its first request, and its second.
fn let_in(stream: &mut TcpStream) -> std::io::Result<()> {
    for _ in 0..2 {
        let mut header = [0; 20];
        stream.read_exact(&mut header)?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (seq, len) = (word(12), word(16));
        let mut body = vec![0; len as usize];
        stream.read_exact(&mut body)?;
        let answer = br#"{"result":0,"desc":"Success","data":{"uuid":"u","passwd":"p"}}"#;
        stream.write_all(&encode(3, MsgType::Response, 0, seq, answer))?;
        if String::from_utf8_lossy(&body).contains("\"login\"") {
            break;
        }
    }
    Ok(())
}

/// Everything that a terminal can be sent once it is logged in.
fn all_at_once(stream: &mut TcpStream) -> std::io::Result<()> {
    let_in(stream)?;
    for byte in request(1, br#"{"message":"open_door","data":[]}"#) {
        stream.write_all(&[byte])?;
        std::thread::sleep(Duration::from_millis(5));
    }
    let messages = [
        "add_person",
        "update_person",
        "delete_person",
        "clear_person",
        "add_person_face",
        "add_face",
        "delete_face",
        "snapshot_picture",
        "sync_person",
        "device_upgrade",
        "serial_output",
        "weigand_output",
        "online_open_door",
        "swiping_card",
        "config_device_pass_rule",
        "get_configs",
        "config_system",
        "reSend_record_set",
        "no_such_message",
        "",
    ];
    let values = ["null", "[]", "0", "\"x\"", r#"{"personId":[],"groupKey":{},"idSet":7,"mode":"","url":0}"#];
    for (seq, (message, value)) in
        messages.iter().flat_map(|message| values.map(|value| (message, value))).enumerate()
    {
        let body = format!(r#"{{"message":"{message}","data":{value}}}"#);
        stream.write_all(&request(seq as u32 + 2, body.as_bytes()))?;
    }
    // Deep, far deeper than any reader of JSON should go.
    let mut body = br#"{"message":"add_person","data":"#.to_vec();
    body.extend(std::iter::repeat_n(b'[', 100_000));
    stream.write_all(&request(1000, &body))?;
    for seq in 0..5_000 {
        // Answers that nobody asked for.
        let answer = br#"{"result":100,"desc":"","data":{"opendoor":1}}"#;
        stream.write_all(&encode(3, MsgType::Response, 0, seq | 0x8000_0000, answer))?;
        stream.write_all(&encode(3, MsgType::Heartbeat, 0, 0, b""))?;
        stream.write_all(b"QYZN")?;
        stream.write_all(&noise(u64::from(seq) + 1, 41))?;
    }
    // A frame of four gigabytes.
    let mut frame = request(2000, b"");
    frame[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    stream.write_all(&frame)?;
    (0..64).try_for_each(|_| stream.write_all(&[b'{'; 1 << 16]))
}

const QYZN: &[Attack] = &[
    ("all at once", all_at_once),
    ("ten thousand commands and nobody reads the answers", |stream| {
        let_in(stream)?;
        for seq in 0..10_000 {
            let body =
                format!(r#"{{"message":"add_person_face","data":{{"personId":"{seq}","faces":[{{}}]}}}}"#);
            stream.write_all(&request(seq, body.as_bytes()))?;
        }
        Ok(())
    }),
    ("noise", |stream| stream.write_all(&noise(7, 1 << 20))),
    ("goodbye at once", |_| Ok(())),
];

/// A frame of RFC 6455 from a server.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(len as u8),
        len @ 126..65_536 => {
            frame.push(126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// Takes the terminal's request for a WebSocket and grants it.
fn upgrade(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let key = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
        .map_or("", |(_, key)| key.trim());
    let accept = derive_accept_key(key.as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

const TERMINAL_WS: &[Attack] = &[
    ("a WebSocket of noise", |stream| {
        upgrade(stream)?;
        stream.write_all(&frame(0x81, &[0xff, 0xfe]))?;
        for text in ["", "null", "[]", "{", "{\"cmd\":[]}", "{\"msgid\":7,\"cmd\":\"setPerson\",\"msg\":{}}"]
        {
            stream.write_all(&frame(0x81, text.as_bytes()))?;
        }
        (0..1_000).try_for_each(|round| stream.write_all(&frame(0x82, &noise(round + 1, 99))))?;
        stream.write_all(&noise(11, 1 << 20))
    }),
    ("ten thousand commands and nobody reads the answers", |stream| {
        upgrade(stream)?;
        for number in 0..10_000 {
            let text = format!(
                r#"{{"msgid":"{number}","sn":"FEDCBA9876543210","cmd":"setPerson","msg":"id={number}&name=x&photo=%ff"}}"#
            );
            stream.write_all(&frame(0x81, text.as_bytes()))?;
        }
        Ok(())
    }),
    ("a message of an exabyte", |stream| {
        upgrade(stream)?;
        stream.write_all(&[0x81, 127, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])?;
        (0..64).try_for_each(|_| stream.write_all(&[b'{'; 1 << 16]))
    }),
    ("fragments without end", |stream| {
        upgrade(stream)?;
        stream.write_all(&frame(0x01, b"{"))?;
        (0..2_000).try_for_each(|_| stream.write_all(&frame(0x00, &[b'['; 1 << 15])))
    }),
    ("a header that trickles and never ends", |stream| {
        for byte in b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" {
            stream.write_all(&[*byte])?;
            std::thread::sleep(Duration::from_millis(5));
        }
        (0..10_000).try_for_each(|_| stream.write_all(&[b'y'; 60]))
    }),
];

#[test]
fn a_known_face_passes_whatever_both_platforms_do() {
    let (qyzn, terminal_ws) = (Hostile::new(QYZN), Hostile::new(TERMINAL_WS));
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[terminal]\ndata_dir = {data:?}\n[[camera]]\nrole = \"visible\"\nsource = \"files:{frames}\"\nfps = 15\n\
         [platform.qyzn]\nserver = \"{}\"\n[platform.terminal_ws]\nurl = \"ws://{}/devs/\"\nusername = \"dev\"\npassword = \"123\"\n",
        qyzn.address,
        terminal_ws.address,
        data = folder.path().join("data"),
        frames = prepared(".setup/demo/frames").display(),
    );
    // A technician enrols somebody; the platforms cannot touch what is not theirs.
    let file = folder.path().join("enrol.toml");
    std::fs::write(&file, format!("{config}[vision]\nmodels_dir = {:?}\n", prepared("models"))).unwrap();
    let enrolled = menshen()
        .args(["enroll", "--id", "7", "--name", "张三", "--config"])
        .arg(&file)
        .arg(prepared(".setup/demo/enrol/A.jpg"))
        .output()
        .unwrap();
    assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));

    let mut agent = Agent::start(folder.path(), &config);
    let all_done = || {
        QYZN.iter().all(|(name, _)| qyzn.has_done(name))
            && TERMINAL_WS.iter().all(|(name, _)| terminal_ws.has_done(name))
    };
    let mut passes = 0;
    while !all_done() || passes < 3 {
        let verdict = agent.event("a pass amid the attacks", |event| {
            event["kind"] == "verdict" && event["verdict"] == "pass"
        });
        assert_eq!(verdict["person"], serde_json::json!({ "origin": "local", "id": "7" }));
        assert_eq!(verdict["opened"], true);
        passes += 1;
        let missing: Vec<_> =
            QYZN.iter().map(|(name, _)| *name).filter(|name| !qyzn.has_done(name)).collect();
        eprintln!("{passes} passes, still to come: {missing:?}");
        assert!(passes < 100, "the attacks do not end");
    }
    // Nothing had to be started again.
    let failed: Vec<_> = agent.heard("task").filter(|event| event["state"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(agent.process.stop(), Some(0));
}
