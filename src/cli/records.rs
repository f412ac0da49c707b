//! `menshen records`: what happened at the gate.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use menshen::access::PersonKey;
use menshen::error::Context;
use menshen::service::admin::record_form;
use menshen::store::{IncidentId, Record, RecordId, Store};
use menshen::{Error, Kind, Result};
use serde_json::Value;

use super::people::{plain, store_options};
use super::{ConfigArgs, say};

/// Records read from the store at once.
const CHUNK: usize = 200;

/// What happened at the gate, the newest first.
///
/// Reads the store, also while the agent runs. Identity numbers are masked.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no store or no such record there.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the last records
    List(ListArgs),
    /// Shows all that is known of a record, but its pictures
    Show(ShowArgs),
    /// Lists what happened at the gate's own contacts: exit button, door forced or held open, case opened
    Incidents(ListArgs),
    /// Writes records as JSON lines or CSV, and their pictures where asked
    Export(ExportArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Those before this number
    #[arg(long, value_name = "NUMBER")]
    before: Option<i64>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    limit: usize,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Number of the record
    record: i64,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to write them
    #[arg(long, default_value = "jsonl")]
    format: Format,
    /// Where to write them, a new file; standard output if not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A folder for the pictures, which are not exported otherwise
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// From this moment on, such as 2026-01-31T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated values with a header (RFC 4180); a text that a spreadsheet would run is preceded by '
    Csv,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args)?,
        Command::Show(args) => show(args)?,
        Command::Incidents(args) => incidents(args)?,
        Command::Export(args) => export(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Hands every record before `before` to `take`, the newest first, until it says that it has enough.
fn each(
    store: &Store,
    mut before: Option<RecordId>,
    mut take: impl FnMut(&Record) -> Result<bool>,
) -> Result<()> {
    loop {
        let records = store.list_records(before, CHUNK)?;
        for record in &records {
            if !take(record)? {
                return Ok(());
            }
        }
        match records.last() {
            Some(last) if records.len() == CHUNK => before = Some(last.id),
            _ => return Ok(()),
        }
    }
}

fn list(args: &ListArgs) -> Result<()> {
    let store = Store::open_read_only(&store_options(&args.config.load()?))?;
    let mut left = args.limit;
    each(&store, args.before.map(RecordId), |record| {
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        if args.json {
            say(record_form(record))?;
        } else {
            say(line(record))?;
        }
        Ok(true)
    })
}

fn show(args: &ShowArgs) -> Result<()> {
    let store = Store::open_read_only(&store_options(&args.config.load()?))?;
    let record = store.record(RecordId(args.record))?.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("there is no record {}, or it has been removed", args.record))
    })?;
    super::people::print_form(&record_form(&record), args.json)
}

fn incidents(args: &ListArgs) -> Result<()> {
    let config = args.config.load()?;
    let store = Store::open_read_only(&store_options(&config))?;
    let offset = config.settings.time.offset();
    let local = |at: Timestamp| at.display_with_offset(offset).to_string();
    for incident in store.list_incidents(args.before.map(IncidentId), args.limit)? {
        if args.json {
            let line = serde_json::to_string(&incident)
                .map_err(|error| Error::caused(Kind::Io, "an incident cannot be written", error))?;
            say(line)?;
        } else {
            say(format_args!(
                "{}\t{}\t{}\t{}",
                incident.id.0,
                local(incident.began),
                incident.kind.as_str(),
                incident.ended.map_or_else(|| "lasts".to_owned(), local),
            ))?;
        }
    }
    Ok(())
}

/// One line with tabs between its fields.
fn line(record: &Record) -> String {
    let facts = &record.facts;
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}",
        record.id.0,
        local(record),
        if facts.opened { "opened" } else { "shut" },
        facts.reason.as_str(),
        facts.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.1}")),
        plain(&facts.name),
    )
}

/// The time on the gate's wall when it happened, with its offset.
fn local(record: &Record) -> String {
    let offset = jiff::tz::Offset::from_seconds(record.facts.utc_offset_s).unwrap_or(jiff::tz::Offset::UTC);
    record.facts.at.display_with_offset(offset).to_string()
}

fn export(args: &ExportArgs) -> Result<()> {
    let store = Store::open_read_only(&store_options(&args.config.load()?))?;
    if let Some(folder) = &args.pictures {
        std::fs::create_dir_all(folder)
            .context(|| format!("the folder {} cannot be made", folder.display()))?;
    }
    let mut output: Box<dyn Write> = match &args.output {
        Some(file) => Box::new(BufWriter::new(private(file)?)),
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let outcome = write(args, &store, &mut output).and_then(|()| Ok(output.flush()?));
    match outcome {
        // `menshen records export | head`.
        Err(error) if args.output.is_none() && is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A new file that nobody else may read.
fn private(path: &Path) -> Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .context(|| format!("{} cannot be made (an export does not overwrite)", path.display()))
}

fn write(args: &ExportArgs, store: &Store, output: &mut dyn Write) -> Result<()> {
    if args.format == Format::Csv {
        output.write_all(format!("{}\r\n", COLUMNS.join(",")).as_bytes())?;
    }
    each(store, None, |record| {
        let at = record.facts.at;
        if args.since.is_some_and(|since| at < since) || args.until.is_some_and(|until| at >= until) {
            return Ok(true);
        }
        if let Some(folder) = &args.pictures {
            pictures(store, record, folder)?;
        }
        let text = match args.format {
            Format::Jsonl => format!("{}\n", record_form(record)),
            Format::Csv => row(record),
        };
        output.write_all(text.as_bytes())?;
        Ok(true)
    })
}

/// Writes the pictures of a record as `RECORD-KIND.jpg`.
fn pictures(store: &Store, record: &Record, folder: &Path) -> Result<()> {
    for kind in &record.pictures {
        let Some(picture) = store.record_picture(record.id, *kind)? else { continue };
        let path = folder.join(format!("{}-{}.jpg", record.id.0, kind.as_str()));
        private(&path)?
            .write_all(&picture)
            .context(|| format!("the picture {} cannot be written", path.display()))?;
    }
    Ok(())
}

const COLUMNS: [&str; 15] = [
    "record",
    "time",
    "origin",
    "person",
    "name",
    "kind",
    "id_number",
    "card",
    "result",
    "reason",
    "opened",
    "score",
    "liveness",
    "latency_ms",
    "undelivered",
];

/// A record as a row of CSV.
fn row(record: &Record) -> String {
    let form = record_form(record);
    let facts = &record.facts;
    let text = |field: &str| form.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let score = |score: Option<f32>| score.map(|score| format!("{score:.1}")).unwrap_or_default();
    let key = facts.person.as_ref();
    let fields = [
        record.id.0.to_string(),
        local(record),
        key.map_or("", |key: &PersonKey| key.origin.as_str()).to_owned(),
        key.map(|key| key.id.clone()).unwrap_or_default(),
        facts.name.clone(),
        text("person_kind"),
        text("id_number"),
        facts.card.clone().unwrap_or_default(),
        text("result"),
        facts.reason.as_str().to_owned(),
        facts.opened.to_string(),
        score(facts.score),
        score(facts.liveness),
        facts.latency_ms.to_string(),
        record.undelivered.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(" "),
    ];
    format!("{}\r\n", fields.map(|field| quoted(&field)).join(","))
}

/// A field of CSV. What a spreadsheet would take for a formula is made text: names come from platforms.
fn quoted(field: &str) -> String {
    let runs = field.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let field = if runs { format!("'{field}") } else { field.to_owned() };
    if field.contains([',', '"', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn fields_are_quoted_and_no_formula_runs() {
        // RFC 4180, rules 6 and 7.
        assert_eq!(quoted("b,bb"), "\"b,bb\"");
        assert_eq!(quoted("b\"bb"), "\"b\"\"bb\"");
        assert_eq!(quoted("a\r\nb"), "\"a\r\nb\"");
        assert_eq!(quoted("张三"), "张三");
        assert_eq!(quoted("=HYPERLINK(\"x\")"), "\"'=HYPERLINK(\"\"x\"\")\"");
        assert_eq!(quoted("-1"), "'-1");
    }
}
