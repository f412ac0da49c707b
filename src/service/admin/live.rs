//! `GET /api/v1/live.mjpg`: what the camera sees, as Motion-JPEG.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::Shared;
use super::answer::Failure;
use crate::gate::LiveFrame;

/// The least time between two pictures: ten a second are enough for eyes.
const BETWEEN: Duration = Duration::from_millis(100);

/// Between the parts. Each has its length, so that it need not be looked for in the pictures.
const BOUNDARY: &str = "menshen-picture";

/// One viewer.
struct Viewer {
    ready: VecDeque<Bytes>,
    frames: watch::Receiver<Option<LiveFrame>>,
    stopped: watch::Receiver<bool>,
    next: Instant,
    /// Held until the viewer is gone.
    _place: OwnedSemaphorePermit,
}

pub(super) async fn watch(State(shared): State<Shared>) -> Result<Response, Failure> {
    let place = Arc::clone(&shared.viewers)
        .try_acquire_owned()
        .map_err(|_| Failure::busy("too many watch the live picture: close a page and try again"))?;
    Ok(stream(shared.gate.live(), shared.stopped.clone(), place))
}

/// The answer to one viewer: a slow one gets fewer pictures, never older ones.
fn stream(
    frames: watch::Receiver<Option<LiveFrame>>,
    stopped: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) -> Response {
    let viewer = Viewer { ready: VecDeque::new(), frames, stopped, next: Instant::now(), _place: place };
    let body = Body::from_stream(stream::unfold(viewer, |mut viewer| async move {
        let bytes = viewer.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), viewer))
    }));
    ([(header::CONTENT_TYPE, format!("multipart/x-mixed-replace; boundary={BOUNDARY}"))], body)
        .into_response()
}

impl Viewer {
    /// What to send next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            let (next, frames) = (self.next, &mut self.frames);
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                changed = async {
                    tokio::time::sleep_until(next).await;
                    frames.changed().await
                } => changed.ok()?,
            }
            // Cloned at once: the camera's thread waits while the value is borrowed.
            let Some(frame) = self.frames.borrow_and_update().clone() else { continue };
            self.next = Instant::now() + BETWEEN;
            let (width, height) = frame.size;
            let head = format!(
                "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\nX-Frame: {}\r\n\
                 X-Size: {width}x{height}\r\n\r\n",
                frame.jpeg.len(),
                frame.number,
            );
            self.ready.extend([head.into(), Bytes::from_owner(frame.jpeg), Bytes::from_static(b"\r\n")]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use tokio::sync::Semaphore;

    fn frame(number: u64) -> Option<LiveFrame> {
        let jpeg: Vec<u8> = vec![0xff, 0xd8, u8::try_from(number).unwrap(), 0xff, 0xd9];
        Some(LiveFrame { number, jpeg: jpeg.into(), size: (640, 480) })
    }

    /// A viewer gets the newest picture ten times a second, none that is old, and an end at the stop.
    #[tokio::test(start_paused = true)]
    async fn the_newest_picture_ten_times_a_second() {
        let frames = watch::Sender::new(frame(1));
        let (stop, stopped) = watch::channel(false);
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let response = stream(frames.subscribe(), stopped, place);
        assert_eq!(response.headers()["content-type"], "multipart/x-mixed-replace; boundary=menshen-picture");
        let mut body = response.into_body().into_data_stream();
        let mut text = async || {
            let mut part = Vec::new();
            for _ in 0..3 {
                part.extend_from_slice(&body.next().await?.unwrap());
            }
            Some(part)
        };
        let began = Instant::now();
        // What was seen before anybody watched is not shown.
        frames.send_replace(frame(2));
        let first = text().await.unwrap();
        let wanted = b"--menshen-picture\r\nContent-Type: image/jpeg\r\nContent-Length: 5\r\nX-Frame: 2\r\n\
            X-Size: 640x480\r\n\r\n\xff\xd8\x02\xff\xd9\r\n";
        assert_eq!(first, wanted);
        frames.send_replace(frame(3));
        frames.send_replace(frame(4));
        let second = text().await.unwrap();
        assert!(second.windows(10).any(|bytes| bytes == b"X-Frame: 4"), "{second:?}");
        assert!(began.elapsed() >= BETWEEN);
        stop.send_replace(true);
        assert_eq!(text().await, None);
        drop(body);
        assert_eq!(places.available_permits(), 1);
    }
}
