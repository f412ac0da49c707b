//! After a change of the embedder: everybody is enrolled again from the picture in the store, in the background.
//! The gallery holds templates of one model only, so that until then a person is not found, never mistaken.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Inner;
use crate::error::{Context, Kind, Result};
use crate::store::FaceRow;
use crate::vision::Models;
use crate::vision::enrolment::Examiner;

/// Before a store that is busy or full is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// Faces read from the store at a time.
const BATCH: usize = 64;

/// Starts the thread if there is anything to do.
pub(super) fn start(gate: Arc<Inner>, models: Models) -> Result<()> {
    if gate.store.faces_without(&models.embedder_id(), None, 1)?.is_empty() {
        return Ok(());
    }
    std::thread::Builder::new()
        .name("re-enrol".into())
        .spawn(move || {
            if let Err(error) = run(&gate, &models) {
                tracing::error!(%error, "people could not be enrolled again for the new model: restart to retry");
            }
        })
        .context(|| "the thread for enrolling again cannot be started")?;
    Ok(())
}

fn run(gate: &Inner, models: &Models) -> Result<()> {
    let model = &models.embedder_id();
    let mut examiner = Examiner::new(models, 1)?;
    let (mut done, mut refused, mut last) = (0_u64, 0_u64, None);
    loop {
        let faces = gate.store.faces_without(model, last, BATCH)?;
        let Some((face, _)) = faces.last() else { break };
        last = Some(*face);
        for (face, person) in faces {
            // One picture that a library cannot stand, or that is damaged, must not keep out those behind it.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                patiently(|| enrol(gate, &mut examiner, model, face))
            }));
            match outcome {
                Ok(Ok(())) => done += 1,
                Ok(Err(error)) if error.kind() == Kind::Stopped => return Ok(()),
                Ok(Err(error)) if error.kind() == Kind::Model => return Err(error),
                // The technician sees whom it concerns.
                Ok(Err(error)) => {
                    refused += 1;
                    tracing::warn!(face = face.0, person = person.0, %error, "a stored picture cannot be enrolled again");
                }
                Err(_) => {
                    refused += 1;
                    tracing::error!(
                        face = face.0,
                        person = person.0,
                        "enrolling a stored picture again panicked"
                    );
                    examiner = Examiner::new(models, 1)?;
                }
            }
        }
        gate.events.send("task", json!({ "task": "re-enrol", "done": done, "refused": refused }));
    }
    tracing::info!(done, refused, model, "everybody has been enrolled again for the new model");
    Ok(())
}

/// Tries again while the store has too much to do or no room.
fn patiently(mut work: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        match work() {
            Err(error) if matches!(error.kind(), Kind::Busy | Kind::Full) => std::thread::sleep(AGAIN),
            outcome => return outcome,
        }
    }
}

/// A face that was removed meanwhile stays removed; the gallery follows the store.
fn enrol(gate: &Inner, examiner: &mut Examiner, model: &str, face: FaceRow) -> Result<()> {
    let picture = gate
        .store
        .face_picture(face)?
        .ok_or_else(|| crate::Error::new(Kind::NotFound, "the picture is not in the store"))?;
    let template = examiner.examine(&picture)?.template.to_bytes();
    gate.store.set_template(face, model.to_owned(), template).wait().map(drop)
}
