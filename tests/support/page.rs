//! A page of the document reader service, as a program that is no browser.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A page that is connected.
pub struct Page {
    pub socket: WebSocketStream<TcpStream>,
}

/// The handshake with an address, as a page of `origin` makes it.
pub async fn connect(
    address: SocketAddr,
    path: &str,
    origin: Option<&str>,
) -> Result<Page, tungstenite::Error> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(request, stream).await.map(|(socket, _)| Page { socket })
}

impl Page {
    pub async fn open(address: SocketAddr) -> Self {
        connect(address, "/echo", None).await.unwrap()
    }

    pub async fn send(&mut self, message: Value) {
        self.text(&message.to_string()).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next frame that says something; `None` when the service has closed.
    pub async fn frame(&mut self) -> Option<Message> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a message comes");
            match message? {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return Some(message),
                Err(_) => return None,
            }
        }
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        match self.frame().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("a message, not {other:?}"),
        }
    }

    /// The next message that is an answer.
    pub async fn reply(&mut self) -> Value {
        loop {
            let message = self.next().await;
            if message["Type"] == "Reply" {
                return message;
            }
        }
    }

    /// The next message that is a notification of this command and operand; its parameter.
    pub async fn notice(&mut self, command: &str, operand: &str) -> Value {
        loop {
            let mut message = self.next().await;
            if message["Type"] == "Notify" && message["Command"] == command && message["Operand"] == operand {
                return message["Param"].take();
            }
        }
    }

    pub async fn request(&mut self, command: &str, operand: &str, param: Value) -> Value {
        let mut message = json!({ "Type": "Request", "Command": command, "Operand": operand });
        if !param.is_null() {
            message["Param"] = param;
        }
        self.send(message).await;
        self.reply().await
    }

    /// What `Get` answers, which must succeed.
    pub async fn get(&mut self, operand: &str, param: Value) -> Value {
        let mut reply = self.request("Get", operand, param).await;
        assert_eq!((&reply["Command"], &reply["Succeeded"]), (&json!("Get"), &json!("Y")), "{reply}");
        reply["Result"].take()
    }

    /// What `Get WebConstant` answers.
    pub async fn constant(&mut self, name: &str) -> String {
        self.get("WebConstant", json!(name)).await.as_str().unwrap().to_owned()
    }

    pub async fn set(&mut self, operand: &str, param: Value) {
        let reply = self.request("Set", operand, param).await;
        assert_eq!((&reply["Operand"], &reply["Succeeded"]), (&json!(operand), &json!("Y")), "{reply}");
    }
}
