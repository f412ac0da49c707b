//! `menshen network`, as a technician types it, at a gate with a simulated machine.

mod support {
    pub mod process;
}

use std::process::Output;

use serde_json::Value;
use support::process::{Agent, menshen};

struct Gate {
    agent: Agent,
    folder: tempfile::TempDir,
}

impl Gate {
    fn start(device: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("[terminal]\ndata_dir = {:?}\n[device]\n{device}\n", folder.path().join("data"));
        Self { agent: Agent::start(folder.path(), &config), folder }
    }

    fn network(&self, arguments: &[&str]) -> Output {
        let config = self.folder.path().join("menshen.toml");
        menshen().arg("network").args(arguments).arg("--config").arg(config).output().unwrap()
    }

    fn show(&self) -> Value {
        let output = self.network(&["show", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn ordered(&mut self, order: &str) -> Value {
        self.agent.event(order, |event| event["kind"] == "system" && event["order"] == order)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_change_is_tried_and_kept_or_put_back() {
    let mut gate = Gate::start("system = \"sim\"");
    let view = gate.show();
    let name = view["cards"][0]["name"].as_str().expect("this machine has a network card").to_owned();
    let before = view["cards"][0]["address"].clone();
    assert_eq!((&view["kept"], &view["trial"]), (&serde_json::json!([]), &Value::Null));

    // On trial, and put back.
    let output = gate.network(&[
        "set",
        &name,
        "--address",
        "10.20.30.40/24",
        "--gateway",
        "10.20.30.1",
        "--dns",
        "10.20.30.2",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("on trial for 60 s"));
    let event = gate.ordered("use_network");
    assert_eq!((&event["address"], &event["mask"]), (&"10.20.30.40".into(), &"255.255.255.0".into()));
    let view = gate.show();
    assert_eq!(view["cards"][0]["address"], "10.20.30.40");
    assert_eq!(view["trial"]["settings"]["gateway"], "10.20.30.1");
    let output = gate.network(&["set", &name, "--dhcp"]);
    assert!(said(&output).contains("is on trial"), "{}", said(&output));
    assert!(gate.network(&["put-back"]).status.success());
    assert_eq!(gate.ordered("put_network_back")["by"], "technician");
    assert_eq!(gate.show()["cards"][0]["address"], before);

    // Kept: by a word after it, or with it.
    assert!(
        gate.network(&["set", &name, "--address", "10.20.30.41", "--mask", "255.255.255.0"]).status.success()
    );
    assert!(gate.network(&["confirm"]).status.success());
    assert_eq!(gate.ordered("keep_network")["name"], name.as_str());
    assert_eq!(gate.show()["kept"][0]["address"], "10.20.30.41");
    assert!(gate.network(&["set", &name, "--dhcp", "--keep"]).status.success());
    gate.ordered("keep_network");
    assert_eq!(gate.show()["kept"][0]["dhcp"], true);
    let output = gate.network(&["show"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("set by menshen: dhcp"));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let gate = Gate::start("system = \"sim\"");
    let view = gate.show();
    let name = view["cards"][0]["name"].as_str().expect("this machine has a network card").to_owned();
    for (arguments, why) in [
        (&["set", "eth77", "--dhcp"][..], "there is no network card eth77"),
        (&["set", &name, "--address", "10.20.30.0/24"][..], "address: 10.20.30.0/24 is the network itself"),
        (
            &["set", &name, "--address", "10.20.30.4/24", "--gateway", "10.20.31.1"][..],
            "gateway: 10.20.31.1 is not in",
        ),
        (&["set", &name, "--address", "10.20.30.4"][..], "mask: is missing"),
    ] {
        let output = gate.network(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said(&output).contains(why), "{}", said(&output));
    }
    assert_eq!(gate.network(&["confirm"]).status.code(), Some(3));
    assert_eq!(gate.network(&["set", &name]).status.code(), Some(2));
    assert_eq!(gate.show(), view);
}

#[test]
fn a_machine_that_is_not_the_gate_s_refuses() {
    let gate = Gate::start("system = \"none\"");
    let name = gate.show()["cards"][0]["name"].as_str().expect("this machine has a network card").to_owned();
    let output = gate.network(&["set", &name, "--dhcp"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("device.system"), "{}", said(&output));
    assert_eq!(gate.show()["trial"], Value::Null);
}
