//! Whatever a server answers: it is an answer of bounded length, or none.
#![no_main]

use std::time::Duration;

use hyper::body::Bytes;
use hyper::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use menshen::http::{Ask, Client, Url, Within};
use menshen::tls::Trust;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LIMIT: usize = 100;
const WITHIN: Within = Within { connect: Duration::from_secs(5), answer: Duration::from_secs(5) };

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let url = Url::parse(&format!("http://{address}/x")).expect("an address");
        let mut client = Client::new(Trust::System);
        let ask = Ask { method: Method::GET, url: &url, headers: HeaderMap::new(), body: Bytes::new() };
        let answer = async {
            let (mut stream, _) = listener.accept().await.expect("the client comes");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a request"));
            }
            // The client may have heard enough.
            let _ = stream.write_all(bytes).await;
        };
        let (answer, ()) = tokio::join!(client.ask(ask, LIMIT, WITHIN), answer);
        if let Ok(answer) = answer {
            assert!(answer.body.len() <= LIMIT);
        }
    });
});
