//! `menshen simulate qyzn` as a program.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::process::{Command, Output, Stdio};

fn simulate(folder: &std::path::Path, script: &str, more: &[&str]) -> Output {
    let file = folder.join("script.jsonl");
    std::fs::write(&file, script).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_menshen"));
    command.args(["simulate", "qyzn", "--listen", "127.0.0.1:0", "--exit", "--script"]).arg(file).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn ends_with_its_script_and_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal.jsonl");
    let more = ["--json", "--journal", journal.to_str().unwrap()];
    let good = simulate(folder.path(), "{\"sleep_ms\":1}", &more);
    assert_eq!(good.status.code(), Some(0));
    let lines: Vec<serde_json::Value> = String::from_utf8(good.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "listening");
    assert!(lines[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!((&lines[1]["event"], &lines[1]["ok"]), (&"script".into(), &true.into()));
    let kept = std::fs::read_to_string(journal).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(kept.trim()).unwrap(), lines[1]);

    let failed = simulate(folder.path(), "{\"wait\":\"snapshot_face\",\"within_ms\":1}", &[]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        String::from_utf8(failed.stdout).unwrap().contains("script: line 1 of the script: no snapshot_face")
    );

    let wrong = simulate(folder.path(), "\n{\"fly\":1}", &[]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("line 2"));
    let usage = simulate(folder.path(), "", &["--misbehave", "fly"]);
    assert!(String::from_utf8(usage.stderr).unwrap().contains("never-read"));
}
