//! The download of one package: bounded, resumed where the line broke, also after a restart of the agent.
//!
//! In the folder are `package.part`, what has come so far; `package.json`, what it is a part of; and `package`, whole
//! and verified. A part is gone on with only for the same address and the same checksum, and only if the server
//! still has the same: it must answer the range that was asked for (206) with the same length and `ETag`, or the
//! download begins anew.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::{Failure, Options, Order};
use crate::blocking::blocking;
use crate::error::{Context, Error, Kind, Result, io_kind};
use crate::event::Events;
use crate::http::{Ask, Client, Opened, Stage, Url, Within};
use crate::tls::Trust;

/// Breaks in a row, without [`WORTH`] between them, after which a download has failed.
const BREAKS: u32 = 5;
/// Bytes that make an attempt worth as much as a first one.
const WORTH: u64 = 1 << 20;
/// Redirects that are followed.
const REDIRECTS: u32 = 5;
/// Bytes after which the free space is looked at again.
const LOOK_EVERY: u64 = 8 << 20;
/// How long the server may take for a connection, and for the head of its answer.
const WITHIN: Within =
    Within { connect: std::time::Duration::from_secs(10), answer: std::time::Duration::from_secs(20) };

/// What a part is a part of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    url: String,
    check: String,
    /// Length of the whole, where the server said it.
    total: Option<u64>,
    /// The server's name for this very content, if it is a strong one.
    etag: Option<String>,
}

/// How an attempt ended.
enum End {
    /// All is there.
    Whole,
    /// It broke off, and may go on.
    Broken(Error),
    /// What is there is no beginning of what the server has.
    Anew,
    /// Nothing more is to be had.
    Failed(Failure),
}

/// A download.
pub struct Download {
    folder: PathBuf,
    order: Order,
    client: Client,
    options: Options,
    events: Events,
    note: Note,
    /// Bytes that are there.
    have: u64,
    /// Whether the server has answered anything.
    reached: bool,
    /// Whether what is there came in more than one piece.
    pieced: bool,
    told: Option<Instant>,
}

impl Download {
    /// A download into `folder`, which is made if it is not there.
    pub fn new(folder: PathBuf, order: Order, trust: Trust, options: Options, events: Events) -> Self {
        Self {
            folder,
            order,
            client: Client::new(trust),
            options,
            events,
            note: Note::default(),
            have: 0,
            reached: false,
            pieced: false,
            told: None,
        }
    }

    /// Downloads and verifies; answers with where the package is.
    pub async fn run(mut self) -> Result<PathBuf, Failure> {
        self.prepare().map_err(Failure::Gate)?;
        let within = self.options.whole;
        match tokio::time::timeout(within, self.fetch_verified()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!("the download did not end within {} minutes", within.as_secs() / 60);
                Err(Failure::Download(Error::new(Kind::Timeout, text)))
            }
        }
    }

    fn part(&self) -> PathBuf {
        self.folder.join("package.part")
    }

    fn note_file(&self) -> PathBuf {
        self.folder.join("package.json")
    }

    /// Looks for a part of the same package; removes any other.
    fn prepare(&mut self) -> Result<()> {
        let folder = &self.folder;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .context(|| format!("the folder {} cannot be made", folder.display()))?;
        let whole = self.folder.join("package");
        let wanted =
            Note { url: self.order.url.to_string(), check: self.order.check.clone(), ..Note::default() };
        // A note that cannot be read is none: then the download begins anew.
        let known =
            fs::read(self.note_file()).ok().and_then(|json| serde_json::from_slice::<Note>(&json).ok());
        let same = known.filter(|note| note.url == wanted.url && note.check == wanted.check);
        // A whole package is there only if the agent was stopped before it could be installed.
        remove(&whole)?;
        match (same, fs::metadata(self.part())) {
            (Some(note), Ok(part)) if part.is_file() => {
                (self.note, self.have, self.pieced) = (note, part.len(), part.len() > 0);
            }
            _ => {
                self.note = wanted;
                self.begin_anew()?;
            }
        }
        Ok(())
    }

    /// Forgets what is there.
    fn begin_anew(&mut self) -> Result<()> {
        remove(&self.part())?;
        (self.have, self.pieced) = (0, false);
        (self.note.total, self.note.etag) = (None, None);
        self.keep_note()
    }

    fn keep_note(&self) -> Result<()> {
        let json = serde_json::to_vec(&self.note)
            .map_err(|error| Error::caused(Kind::Io, "the note of a download cannot be written", error))?;
        fs::write(self.note_file(), json)
            .context(|| format!("{} cannot be written", self.note_file().display()))
    }

    async fn fetch_verified(&mut self) -> Result<PathBuf, Failure> {
        loop {
            self.fetch().await?;
            let part = self.part();
            let md5 = blocking(move || md5_of(&part)).await.map_err(Failure::Gate)?;
            if md5 == self.order.check {
                let package = self.folder.join("package");
                let (part, note, whole) = (self.part(), self.note_file(), package.clone());
                blocking(move || {
                    fs::rename(&part, &whole).context(|| "the package cannot be put in its place")?;
                    remove(&note)
                })
                .await
                .map_err(Failure::Gate)?;
                return Ok(package);
            }
            let pieced = self.pieced;
            self.begin_anew().map_err(Failure::Gate)?;
            if !pieced {
                let text = format!("the package has the md5 {md5}; the platform meant {}", self.order.check);
                return Err(Failure::Differs(Error::new(Kind::Input, text)));
            }
            // The pieces may be of two different files: a server without an `ETag` cannot say so.
            tracing::info!("a package in several pieces has a wrong checksum; downloading it anew, whole");
        }
    }

    /// Gets the whole file, with as many attempts as it takes while they bring something.
    async fn fetch(&mut self) -> Result<(), Failure> {
        let mut breaks = 0;
        let mut anew = 0;
        loop {
            let before = self.have;
            match self.attempt().await {
                End::Whole => return Ok(()),
                End::Failed(failure) => {
                    // What is of no use must not fill the disk.
                    if matches!(&failure, Failure::Download(error) if error.kind() != Kind::Network) {
                        self.begin_anew().map_err(Failure::Gate)?;
                    }
                    return Err(failure);
                }
                End::Anew => {
                    anew += 1;
                    if anew > BREAKS {
                        let text = "the package changes while it is downloaded";
                        return Err(Failure::Download(Error::new(Kind::Network, text)));
                    }
                    self.begin_anew().map_err(Failure::Gate)?;
                }
                End::Broken(error) => {
                    if self.have >= before + WORTH {
                        breaks = 0;
                    }
                    breaks += 1;
                    if breaks > BREAKS {
                        return Err(match self.reached {
                            true => Failure::Download(error),
                            false => Failure::Unreachable(error),
                        });
                    }
                    tracing::info!(%error, bytes = self.have, "a download broke off and goes on");
                    self.pieced |= self.have > 0;
                    let pause = self
                        .options
                        .resume_pause
                        .saturating_mul(1 << (breaks - 1))
                        .min(self.options.resume_pause.saturating_mul(30));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// One request, with the redirects that it leads through.
    async fn attempt(&mut self) -> End {
        let mut url = self.order.url.clone();
        for _ in 0..=REDIRECTS {
            let mut opened = match self.ask(&url).await {
                Ok(opened) => opened,
                Err(end) => return end,
            };
            self.reached = true;
            match opened.head.status {
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = opened.header(header::LOCATION).unwrap_or_default();
                    url = match url.redirected(location) {
                        Ok(url) => url,
                        Err(error) => {
                            let text = format!("{} redirects to where nothing is fetched", url.origin());
                            return failed(Error::caused(Kind::Network, text, error));
                        }
                    };
                }
                StatusCode::OK => {
                    if self.have > 0
                        && let Err(error) = self.begin_anew()
                    {
                        return End::Failed(Failure::Gate(error));
                    }
                    let total = length(&opened);
                    return self.take(&mut opened, total).await;
                }
                StatusCode::PARTIAL_CONTENT => {
                    let total = match opened.header(header::CONTENT_RANGE).and_then(range) {
                        Some((start, total)) if start == self.have && self.is_same(total, &opened) => total,
                        _ => return End::Anew,
                    };
                    return self.take(&mut opened, Some(total)).await;
                }
                StatusCode::RANGE_NOT_SATISFIABLE if self.have > 0 => {
                    return if self.note.total == Some(self.have) { End::Whole } else { End::Anew };
                }
                status => {
                    let error = Error::new(Kind::Network, format!("{} answered {status}", url.origin()));
                    let again = status.is_server_error()
                        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
                    return if again { End::Broken(error) } else { failed(error) };
                }
            }
        }
        failed(Error::new(Kind::Network, format!("more than {REDIRECTS} redirects")))
    }

    async fn ask(&mut self, url: &Url) -> Result<Opened, End> {
        let mut headers = HeaderMap::new();
        if self.have > 0 {
            let range = format!("bytes={}-", self.have);
            headers.insert(header::RANGE, HeaderValue::from_str(&range).map_err(|_| End::Anew)?);
            if let Some(etag) = self.note.etag.as_ref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
                headers.insert(header::IF_RANGE, etag);
            }
        }
        let ask = Ask { method: Method::GET, url, headers, body: Bytes::new() };
        self.client.open(ask, WITHIN).await.map_err(|failure| match failure.stage {
            Stage::Connecting if !self.reached => End::Failed(Failure::Unreachable(failure.error)),
            _ => {
                self.reached |= failure.stage == Stage::Asked;
                End::Broken(failure.error)
            }
        })
    }

    /// Whether the server still has what the part is a part of.
    fn is_same(&self, total: u64, opened: &Opened) -> bool {
        let total_fits = self.note.total.is_none_or(|known| known == total);
        let etag_fits = match (&self.note.etag, strong_etag(opened)) {
            (Some(known), Some(now)) => *known == now,
            _ => true,
        };
        total_fits && etag_fits
    }

    /// Takes the body behind what is there. `total` is the length of the whole, where the server says it.
    async fn take(&mut self, opened: &mut Opened, total: Option<u64>) -> End {
        let limit = self.options.max_bytes;
        let too_long = || {
            let text = format!("the package is longer than update.max_mib = {}", limit >> 20);
            failed(Error::new(Kind::Full, text))
        };
        if total.is_some_and(|total| total > limit) {
            return too_long();
        }
        (self.note.total, self.note.etag) = (total, strong_etag(opened));
        let file = match self.open_part(total) {
            Ok(file) => file,
            Err(error) => return of_disk(error),
        };
        let mut file = tokio::io::BufWriter::with_capacity(256 << 10, tokio::fs::File::from_std(file));
        let mut looked = self.have;
        let mut end = loop {
            let chunk = match opened.chunk(self.options.silence).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break End::Whole,
                Err(error) => break End::Broken(error),
            };
            let after = self.have + chunk.len() as u64;
            if after > limit {
                break too_long();
            }
            if total.is_some_and(|total| after > total) {
                break failed(Error::new(
                    Kind::Network,
                    "the server sends more than the length that it gave",
                ));
            }
            if after >= looked + LOOK_EVERY {
                looked = after;
                if let Err(error) = self.look_for_room(total.map_or(LOOK_EVERY, |total| total - after)) {
                    break of_disk(error);
                }
            }
            if let Err(error) = file.write_all(&chunk).await {
                break of_disk(written(error));
            }
            self.have = after;
            self.progress();
        };
        // Also of a part that broke off: it is gone on with, perhaps after a power cut.
        let flushed = async {
            file.flush().await?;
            file.get_mut().sync_all().await
        };
        if let Err(error) = flushed.await {
            end = of_disk(written(error));
        }
        if matches!(end, End::Whole)
            && let Some(total) = total
            && self.have < total
        {
            return End::Broken(Error::new(Kind::Network, "the server ended the package before its length"));
        }
        end
    }

    fn open_part(&self, total: Option<u64>) -> Result<fs::File> {
        self.look_for_room(total.map_or(0, |total| total.saturating_sub(self.have)))?;
        self.keep_note()?;
        let part = self.part();
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&part)
            .context(|| format!("{} cannot be written", part.display()))
    }

    fn look_for_room(&self, needed: u64) -> Result<()> {
        look_for_room(&self.folder, needed, self.options.reserve)
    }

    fn progress(&mut self) {
        let now = Instant::now();
        if self.told.is_some_and(|told| now < told + self.options.progress) {
            return;
        }
        self.told = Some(now);
        self.events.send(
            "update",
            json!({ "state": "downloading", "version": self.order.version, "bytes": self.have,
                "total": self.note.total }),
        );
    }
}

/// `Full` if the disk of `folder` has not `needed` bytes and the reserve.
pub(super) fn look_for_room(folder: &Path, needed: u64, reserve: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| Error::caused(Kind::Io, "the disk cannot be looked at", error))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= needed.saturating_add(reserve) {
        return Ok(());
    }
    let text = format!(
        "the disk of {} has {} MiB free; the package needs {} MiB more and {} MiB stay in reserve: free some",
        folder.display(),
        free >> 20,
        needed.div_ceil(1 << 20),
        reserve >> 20
    );
    Err(Error::new(Kind::Full, text))
}

fn failed(error: Error) -> End {
    End::Failed(Failure::Download(error))
}

fn of_disk(error: Error) -> End {
    End::Failed(Failure::of_disk(error))
}

fn written(error: std::io::Error) -> Error {
    Error::caused(io_kind(&error), "the package cannot be written to the disk", error)
}

/// Removes a file that may not be there.
fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(|| format!("{} cannot be removed", file.display()))
        }
        _ => Ok(()),
    }
}

fn length(opened: &Opened) -> Option<u64> {
    opened.header(header::CONTENT_LENGTH)?.trim().parse().ok()
}

/// First byte and whole length of a `Content-Range` such as `bytes 500-999/1000` (RFC 9110, 14.4); `None` where it
/// does not reach to the end.
fn range(value: &str) -> Option<(u64, u64)> {
    let (bytes, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = bytes.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total: u64 = total.trim().parse().ok()?;
    (first <= last && last.checked_add(1) == Some(total)).then_some((first, total))
}

/// An `ETag` that means the very same bytes.
fn strong_etag(opened: &Opened) -> Option<String> {
    opened.header(header::ETAG).filter(|etag| !etag.starts_with("W/")).map(str::to_owned)
}

/// MD5 of a file, in lower-case hexadecimal.
pub(super) fn md5_of(file: &Path) -> Result<String> {
    let mut opened = fs::File::open(file).context(|| "the package cannot be read")?;
    let mut context = md5::Context::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match opened.read(&mut buffer) {
            Ok(0) => return Ok(format!("{:x}", context.finalize())),
            Ok(read) => context.consume(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(|| "the package cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_reach_to_the_end() {
        assert_eq!(range("bytes 500-999/1000"), Some((500, 1000)));
        assert_eq!(range("bytes 0-0/1"), Some((0, 1)));
        let most = u64::MAX;
        for bad in [
            "",
            "bytes */1000",
            "bytes 500-999/*",
            "bytes 500-998/1000",
            "bytes 999-500/501",
            "bytes -1-999/1000",
            "items 500-999/1000",
            // A number of the server's that has no next one.
            &format!("bytes 0-{most}/{most}"),
            &format!("bytes 0-{most}/0"),
            &format!("bytes 0-{most}0/0"),
        ] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
