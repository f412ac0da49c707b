//! Listening, as every simulator does it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::error::{Context, Result};

/// Listens on `address` (port 0 for any) as `what`, such as `QYZN platform`, and hands over each connection, until the
/// task is aborted. Answers with the address and the task.
pub(super) async fn listen(
    what: &'static str,
    address: SocketAddr,
    mut take: impl FnMut(TcpStream) + Send + 'static,
) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(address)
        .await
        .context(|| format!("the simulated {what} cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => take(stream),
                Err(error) => {
                    tracing::warn!(%error, "the simulated {what} could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok((address, task))
}
