//! The QYZN protocol inside of TLS.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod tls;
    pub mod vision;
}

use menshen::config;
use menshen::simulate::qyzn::Platform;
use serde_json::json;
use support::gate::{Running, base64, person};
use support::tls::certificate;
use support::vision::bytes;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_platform_is_served_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    // The name is not the one that the gate calls; the pin counts.
    let (pin, key) = certificate(folder.path(), "platform.example");
    let platform = Platform::default();
    let secure = menshen::tls::server(&pin, &key).unwrap();
    let address = platform.listen_with("127.0.0.1:0".parse().unwrap(), Some(secure)).await.unwrap();
    let mut qyzn = config::Qyzn::new(address.to_string());
    (qyzn.tls, qyzn.pinned_certificate) = (true, pin.to_str().unwrap().into());
    let running = Running::start_at(folder.path(), qyzn, &config::Device::default());
    platform.wait_until_logged_in().await.unwrap();
    // More than a record of TLS, both ways.
    let picture = bytes("pictures/p01-1.jpg");
    let mut enrol = person("100001");
    enrol["faces"] = json!([{"faceId": "f", "image": base64(&picture)}]);
    assert_eq!(platform.request("add_person_face", enrol).await.unwrap()["result"], 0);
    running.record("record 0", &picture).await;
    let told = platform.wait_for(|entry| entry.event == "snapshot_face").await.unwrap();
    assert_eq!(told.text("snapPic_md5"), format!("{:x}", md5::compute(&picture)));
    // The line is lost without a word of TLS and made again.
    platform.disconnect();
    platform.wait_for(|entry| entry.event == "logged_in" && entry.connection == 2).await.unwrap();
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_with_another_certificate_is_refused_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (shown, key) = certificate(folder.path(), "shown.example");
    let (pin, _) = certificate(folder.path(), "pinned.example");
    let platform = Platform::default();
    let secure = menshen::tls::server(&shown, &key).unwrap();
    let address = platform.listen_with("127.0.0.1:0".parse().unwrap(), Some(secure)).await.unwrap();
    let mut qyzn = config::Qyzn::new(address.to_string());
    (qyzn.tls, qyzn.pinned_certificate) = (true, pin.to_str().unwrap().into());
    let mut running = Running::start_at(folder.path(), qyzn, &config::Device::default());
    for _ in 0..2 {
        let lost = running.event(|event| event.kind == "platform" && event.fields["state"] == "lost").await;
        let reason = lost.fields["reason"].as_str().unwrap();
        assert!(reason.contains("no TLS with 127.0.0.1: the server's certificate (SHA-256 "), "{reason}");
        assert!(reason.contains("pinned.example.pem") && reason.contains("unknown issuer"), "{reason}");
    }
    running.stop().await;
    let failed = platform.wait_for(|entry| entry.event == "tls_failed").await.unwrap();
    assert_eq!(failed.connection, 0);
    assert!(platform.journal().from(0).iter().all(|entry| entry.event == "tls_failed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_without_tls_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (pin, _) = certificate(folder.path(), "platform.example");
    let (platform, address) = support::gate::platform().await;
    let mut qyzn = config::Qyzn::new(address.to_string());
    (qyzn.tls, qyzn.pinned_certificate) = (true, pin.to_str().unwrap().into());
    let mut running = Running::start_at(folder.path(), qyzn, &config::Device::default());
    let lost = running.event(|event| event.kind == "platform" && event.fields["state"] == "lost").await;
    let reason = lost.fields["reason"].as_str().unwrap();
    assert!(reason.starts_with("no connection: no TLS with 127.0.0.1"), "{reason}");
    running.stop().await;
    platform.stop();
}
