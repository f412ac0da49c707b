//! Evaluation: how well this gate tells people apart, and heads from pictures of them, on an owner's own data.
//! `menshen eval` prints what these modules compute; nothing here runs on a gate that works.

pub mod comparison;
pub mod document_photo;
pub mod liveness;
pub mod mrz;
pub mod pairs;
pub mod plot;
pub mod statistics;

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// The pictures (`.jpg`, `.jpeg`, `.png`, in any case) and the folders in a folder, each in the order of their names.
pub(crate) fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut pictures, mut folders) = (Vec::new(), Vec::new());
    let entries =
        std::fs::read_dir(dir).context(|| format!("the folder {} cannot be read", dir.display()))?;
    for entry in entries {
        let path = entry.context(|| format!("the folder {} cannot be read", dir.display()))?.path();
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().and_then(|end| end.to_str()).is_some_and(is_picture) {
            pictures.push(path);
        }
    }
    pictures.sort();
    folders.sort();
    Ok((pictures, folders))
}

fn is_picture(extension: &str) -> bool {
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}
