//! Scripts: one JSON object a line, carried out in order. These steps every simulated platform knows:
//!
//! - `{"wait":"answer","where":{"status":0},"count":2}` waits for entries of the [journal](super::Journal) since
//!   the last `wait`. `{"wait":"<ready>"}` waits until a terminal can be sent something (`logged_in` for QYZN,
//!   `connected` for the terminal WebSocket).
//! - `{"send":…}` sends a command, as the platform's own page says, and goes on. With `"expect":{…}` beside it, it
//!   waits for the answer.
//! - `{"expect":{…}}` waits for the answer to the oldest command that nothing was expected of yet;
//!   `{"expect_all":{…}}` for all of them. The answer must have at least what is expected.
//! - `{"sleep_ms":500}`, `{"close":true}`, `{"misbehave":"…"}`.
//! - `{"repeat":100,…}` repeats the step beside it, or the list in `"steps"`; `{n}` in any text is the
//!   number of the round, from 0.
//!
//! Empty lines and lines that begin with `#` are skipped. `"within_ms"` bounds a wait (a minute otherwise).

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::Simulated;
use crate::error::{Context, Error, Kind, Result};

/// A script for the platform `P` that has been read and checked.
#[derive(Debug, Clone)]
pub struct Script<P> {
    folder: PathBuf,
    /// Line numbers and steps.
    steps: Vec<(usize, Map<String, Value>)>,
    platform: PhantomData<fn(&P)>,
}

/// One step.
enum Step<P: Simulated> {
    Wait { event: String, fields: Value, count: u64, within: Duration },
    Own { order: P::Order, expect: Option<Value> },
    Expect { answer: Value, all: bool },
    Sleep(Duration),
    Misbehave(P::Misbehave),
    Close,
    Repeat { times: u64, steps: Vec<Map<String, Value>> },
}

impl<P: Simulated> Script<P> {
    /// Reads a file. `Input` names the line that is wrong.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .context(|| format!("the script {} cannot be read", path.display()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
            .context(|| format!("the script {} cannot be used", path.display()))
    }

    /// Reads a text; paths in it are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let step: Map<String, Value> = serde_json::from_str(line)
                .map_err(|error| Error::caused(Kind::Input, format!("line {number}"), error))?;
            check::<P>(&step, folder).context(|| format!("line {number}"))?;
            steps.push((number, step));
        }
        Ok(Self { folder: folder.to_owned(), steps, platform: PhantomData })
    }

    /// Carries it out. The first thing that is not as expected ends it.
    pub async fn run(&self, platform: &P) -> Result<()> {
        let mut run = Run { platform, folder: &self.folder, cursor: 0, open: VecDeque::new() };
        for (number, step) in &self.steps {
            run.step(step).await.context(|| format!("line {number} of the script"))?;
        }
        Ok(())
    }
}

/// Checks a step without carrying it out.
fn check<P: Simulated>(step: &Map<String, Value>, folder: &Path) -> Result<()> {
    match parse::<P>(&numbered(step, 0), folder)? {
        Step::Repeat { steps, .. } => {
            steps.iter().try_for_each(|step| check::<P>(&numbered(step, 0), folder))
        }
        _ => Ok(()),
    }
}

fn parse<P: Simulated>(step: &Map<String, Value>, folder: &Path) -> Result<Step<P>> {
    let wrong = |what: &str| Error::new(Kind::Input, what.to_owned());
    let text = |key: &str| step.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| step.get(key).and_then(Value::as_u64);
    let value = |key: &str| step.get(key).cloned();
    if let Some(times) = number("repeat") {
        let steps = match step.get("steps") {
            Some(Value::Array(steps)) => steps
                .iter()
                .map(|step| step.as_object().cloned().ok_or_else(|| wrong("steps must be objects")))
                .collect::<Result<_>>()?,
            Some(_) => return Err(wrong("steps must be a list")),
            None => {
                let mut one = step.clone();
                one.remove("repeat");
                vec![one]
            }
        };
        return Ok(Step::Repeat { times, steps });
    }
    if let Some(order) = P::read(step, folder)? {
        return Ok(Step::Own { order, expect: value("expect") });
    }
    if let Some(event) = text("wait") {
        return Ok(Step::Wait {
            event,
            fields: value("where").unwrap_or_else(|| json!({})),
            count: number("count").unwrap_or(1),
            within: Duration::from_millis(number("within_ms").unwrap_or(60_000)),
        });
    }
    if let Some(answer) = value("expect") {
        return Ok(Step::Expect { answer, all: false });
    }
    if let Some(answer) = value("expect_all") {
        return Ok(Step::Expect { answer, all: true });
    }
    if let Some(ms) = number("sleep_ms") {
        return Ok(Step::Sleep(Duration::from_millis(ms)));
    }
    if let Some(names) = text("misbehave") {
        return Ok(Step::Misbehave(names.parse()?));
    }
    if step.contains_key("close") {
        return Ok(Step::Close);
    }
    Err(Error::new(
        Kind::Input,
        format!(
            "a step is one of wait, expect, expect_all, sleep_ms, misbehave, close, repeat, {}",
            P::STEPS
        ),
    ))
}

/// The step with `{n}` replaced.
fn numbered(step: &Map<String, Value>, n: u64) -> Map<String, Value> {
    fn replace(value: &mut Value, n: &str) {
        match value {
            Value::String(text) if text.contains("{n}") => *text = text.replace("{n}", n),
            Value::Array(values) => values.iter_mut().for_each(|value| replace(value, n)),
            Value::Object(map) => map.values_mut().for_each(|value| replace(value, n)),
            _ => {}
        }
    }
    let mut step = step.clone();
    let n = n.to_string();
    step.values_mut().for_each(|value| replace(value, &n));
    step
}

/// Puts the base64 of pictures, as `image`, in the place of the names of their files, `image_file`.
pub(super) fn load_images(data: &mut Value, folder: &Path) -> Result<()> {
    match data {
        Value::Array(values) => values.iter_mut().try_for_each(|value| load_images(value, folder)),
        Value::Object(map) => {
            if let Some(Value::String(file)) = map.remove("image_file") {
                map.insert("image".into(), Value::String(image(&folder.join(file))?));
            }
            map.values_mut().try_for_each(|value| load_images(value, folder))
        }
        _ => Ok(()),
    }
}

/// The base64 of a picture's file.
pub fn image(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).context(|| format!("the picture {} cannot be read", path.display()))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Whether `value` has at least what `part` has.
fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            part.iter().all(|(key, part)| value.get(key).is_some_and(|value| contains(value, part)))
        }
        (Value::Array(value), Value::Array(part)) => {
            value.len() == part.len() && value.iter().zip(part).all(|(value, part)| contains(value, part))
        }
        (value, part) => value == part,
    }
}

struct Run<'a, P: Simulated> {
    platform: &'a P,
    folder: &'a Path,
    /// Entries of the journal before this one have been waited for.
    cursor: usize,
    /// Commands of which nothing was expected yet.
    open: VecDeque<(String, P::Sent)>,
}

impl<P: Simulated> Run<'_, P> {
    async fn step(&mut self, step: &Map<String, Value>) -> Result<()> {
        match parse::<P>(step, self.folder)? {
            Step::Repeat { times, steps } => {
                for n in 0..times {
                    for step in &steps {
                        Box::pin(self.step(&numbered(step, n))).await?;
                    }
                }
            }
            Step::Own { order, expect } => match (self.platform.carry_out(order)?, expect) {
                (Some((name, sent)), Some(answer)) => self.expect(&name, sent, &answer).await?,
                (Some(open), None) => self.open.push_back(open),
                (None, _) => {}
            },
            Step::Expect { answer, all } => {
                let many = if all { self.open.len() } else { 1 };
                for _ in 0..many {
                    let next = self.open.pop_front();
                    let (name, sent) = next.ok_or_else(|| {
                        Error::new(Kind::Input, "there is no command to expect an answer to")
                    })?;
                    self.expect(&name, sent, &answer).await?;
                }
            }
            Step::Wait { event, fields, .. } if event == P::READY && fields == json!({}) => {
                self.platform.ready().await?;
            }
            Step::Wait { event, fields, count, within } => {
                for _ in 0..count {
                    let found = self
                        .platform
                        .journal()
                        .wait_for(self.cursor, within, |entry| {
                            entry.event == event && contains(&Value::Object(entry.fields.clone()), &fields)
                        })
                        .await
                        .context(|| format!("no {event} with {fields} came"))?;
                    self.cursor = found.number + 1;
                }
            }
            Step::Sleep(time) => tokio::time::sleep(time).await,
            Step::Misbehave(misbehave) => self.platform.misbehave(misbehave),
            Step::Close => self.platform.disconnect(),
        }
        Ok(())
    }

    async fn expect(&self, name: &str, sent: P::Sent, expected: &Value) -> Result<()> {
        let answer = P::answer(sent).await.context(|| format!("{name} was not answered"))?;
        if contains(&answer, expected) {
            return Ok(());
        }
        Err(Error::new(Kind::Input, format!("{name} was answered {answer}, not {expected}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::qyzn::Platform;

    #[test]
    fn what_is_wrong_is_named_by_its_line() {
        let parse = |text: &str| Script::<Platform>::parse(text, Path::new("/nowhere")).map(drop);
        assert!(parse("# nothing\n\n{\"wait\":\"logged_in\"}\n{\"sleep_ms\":1}").is_ok());
        for (text, line) in [
            ("{\"wait\":\"x\"}\n{", "line 2"),
            ("{\"fly\":1}", "line 1"),
            ("\n{\"send\":\"a\",\"data\":{\"faces\":[{\"image_file\":\"no.jpg\"}]}}", "line 2"),
            ("{\"misbehave\":\"fly\"}", "line 1"),
        ] {
            assert_eq!(parse(text).unwrap_err().message(), line, "{text}");
        }
    }

    #[test]
    fn pictures_and_numbers_are_put_in() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.jpg"), [0xff, 0xd8, 0xff, 0xdb]).unwrap();
        let step = json!({"send": "add_person_face", "data": {"personId": "p{n}", "faces": [{"image_file": "a.jpg"}]}});
        let step = numbered(step.as_object().unwrap(), 7);
        let mut data = step["data"].clone();
        load_images(&mut data, folder.path()).unwrap();
        assert_eq!(data, json!({"personId": "p7", "faces": [{"image": "/9j/2w=="}]}));
    }

    #[test]
    fn an_answer_may_have_more_than_is_expected() {
        let answer = json!({"result": 0, "desc": "Success", "data": {"a": 1, "b": [1, 2]}});
        assert!(contains(&answer, &json!({"result": 0, "data": {"b": [1, 2]}})));
        for part in [json!({"result": 1}), json!({"data": {"b": [1]}}), json!({"more": null})] {
            assert!(!contains(&answer, &part), "{part}");
        }
    }
}
