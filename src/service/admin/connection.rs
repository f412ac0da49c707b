//! Connections: how many there may be and how long they may stand still.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::error::Result;

/// Connections at the same time; one more is answered 503 and closed.
const CONNECTIONS: usize = 64;

/// How long a client may take for the head of a request, and a kept connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

/// How long a client may take nothing of what it was sent.
const STALLED: Duration = Duration::from_secs(20);

/// How long an answer that is under way at the stop may still take.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\
Retry-After: 5\r\nContent-Length: 86\r\n\r\n\
{\"error\":{\"kind\":\"busy\",\"text\":\"too many connections: close one and try again later\"}}";

/// Accepts until `stopped` is true.
pub(super) async fn serve(
    listener: &TcpListener,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop(&mut stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A client that went away while it waited is nothing; out of file descriptors passes.
                tracing::warn!(%error, "a connection to the admin service could not be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            // As far as it goes without waiting.
            let _ = stream.try_write(FULL);
            continue;
        };
        // Latency of small events; refused, they come a little later.
        let _ = stream.set_nodelay(true);
        let (router, stopped) = (router.clone(), stopped.clone());
        connections.spawn(async move {
            converse(stream, router, stopped).await;
            drop(permit);
        });
    }
    let _ =
        tokio::time::timeout(FINISH_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn converse(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection to the admin service ended");
    }
}

/// Waits for the stop.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // Its sender gone, the agent is gone too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A stream whose writes fail when the other side has taken nothing for [`STALLED`].
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Self {
        Self { stream, stalled: None }
    }

    /// Passes on what a write came to, or the end of patience.
    fn judge(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<std::io::Result<usize>>,
    ) -> Poll<std::io::Result<usize>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(std::io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[test]
    fn the_answer_to_one_too_many_is_whole() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"]["kind"], "busy");
    }

    /// A reader that takes nothing: the write fails once the patience is over, and not before.
    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let mut patient = Patient::new(server);
        // Fill the buffers of both sides.
        let junk = vec![0_u8; 1 << 20];
        while tokio::time::timeout(Duration::from_millis(200), patient.write(&junk)).await.is_ok() {}
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let error = patient.write_all(&junk).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        let waited = began.elapsed();
        assert!(waited <= STALLED + Duration::from_millis(100), "{waited:?}");
        assert!(waited >= STALLED - Duration::from_secs(1), "{waited:?}");
        drop(client);
    }
}
