//! An infrared camera beside a visible one, and a camera that is not there: the agent as a process.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;
#[path = "support/site.rs"]
mod site;

use process::{Agent, prepared};
use serde_json::Value;
use site::Site;

#[test]
fn visible_frames_find_their_infrared_partners_whatever_other_cameras_do() {
    let site = Site::new();
    let frames = prepared(".setup/demo/frames");
    let mut config = site.config(&frames, 15);
    let more = format!(
        "[[camera]]\nrole = \"infrared\"\nsource = \"files:{}\"\nfps = 15\n\
         [[camera]]\nrole = \"visible\"\nsource = \"v4l2:/dev/video4242\"\n\
         [[camera]]\nrole = \"document\"\nsource = \"v4l2:/dev/video4243\"\n",
        frames.display()
    );
    config.push_str(&more);
    let mut agent = Agent::start(site.folder(), &config);
    let lost = agent
        .event("the camera that is not there", |event| event["kind"] == "camera" && event["camera"] == 2);
    assert_eq!(lost["state"], "lost");
    let error = lost["error"].as_str().unwrap();
    assert!(error.contains("/dev/video4242") && error.contains("plugged in"), "{error}");

    // Somebody was seen: from then on infrared frames are kept.
    let mut last = 0;
    for _ in 0..5 {
        let face = agent.event("a face with its infrared frame", |event| {
            event["kind"] == "face" && event["infrared"] != Value::Null
        });
        let pair = &face["infrared"];
        assert_eq!((&face["camera"], &pair["camera"]), (&0.into(), &1.into()));
        let apart = pair["apart_ms"].as_f64().unwrap();
        assert!(apart.abs() <= 83.4, "{apart} ms, where a period and a quarter is 83.3");
        let number = pair["frame"].as_u64().unwrap();
        assert!(number > last, "infrared frame {number} after {last}");
        last = number;
    }
    // What stays as it is is said once.
    let told = agent.heard("camera").filter(|event| event["camera"] == 2).count();
    assert_eq!(told, 1);
    assert!(agent.heard("camera").any(|event| event["camera"] == 1 && event["state"] == "watching"));
    assert!(agent.heard("camera").all(|event| event["camera"] != 3), "document cameras are not used yet");
    assert_eq!(agent.process.stop(), Some(0));
}
