//! What a technician is told about a camera: what was looked for, what was found, what to do.

use std::fs;
use std::path::Path;

use super::{Camera as _, Source, v4l2};
use crate::clock::SharedClock;
use crate::config;
use crate::doctor::Words;
use crate::error::{Error, Kind, Result};

/// Looks through a camera that the configuration names: it must deliver a frame. The error says what is wrong and
/// [`advice`] what to do; that the running agent has the camera is no error.
pub fn explain(camera: &config::Camera, index: usize, clock: SharedClock) -> Result<Words> {
    let Source::V4l2(selector) = Source::parse(&camera.source)? else {
        let frame = super::open(camera, index, clock)?.capture(Vec::new())?;
        let (width, height) = frame.size();
        let format = frame.format();
        return Ok(Words::new(
            format!("{width} x {height} {format:?}"),
            format!("delivers {width} x {height} {format:?}"),
        ));
    };
    let looked = v4l2::Stream::open(&selector, camera, index, clock)
        .and_then(|mut stream| stream.capture(Vec::new()).map(|_| stream.agreed()));
    match looked {
        Ok(agreed) => Ok(Words::new(format!("{agreed}，正常出图"), format!("{agreed}, delivers"))),
        Err(error) if error.kind() == Kind::Busy => busy(&selector, error),
        Err(error) => Err(v4l2::beside(error)),
    }
}

/// What to do about an error of [`explain`].
pub fn advice(kind: Kind) -> Words {
    match kind {
        Kind::NotFound => Words::new(
            "检查排线与电源；`menshen camera list` 列出现有摄像头，camera.source 应为其中之一",
            "check its cable and power; `menshen camera list` shows the cameras there are: camera.source names one",
        ),
        Kind::Busy => Words::new(
            "停止占用该摄像头的程序，或在 camera.source 中换用另一个",
            "stop the program that has it, or name another one as camera.source",
        ),
        Kind::Io => Words::new(
            "把运行本程序的用户加入 video 组（usermod -aG video menshen），然后重新登录",
            "put the user into the group video (usermod -aG video menshen) and log in anew",
        ),
        Kind::Config => Words::new("改正 camera.source", "correct camera.source"),
        _ => Words::new(
            "检查排线与电源；再试 camera.format 的其他格式或其他尺寸",
            "check its cable and power; then try another camera.format or size",
        ),
    }
}

/// Who has the camera.
fn busy(selector: &v4l2::Selector, error: Error) -> Result<Words> {
    let path = match selector {
        v4l2::Selector::Node(path) => fs::canonicalize(path).unwrap_or_else(|_| path.clone()),
        v4l2::Selector::Card(name) => {
            let named = v4l2::list().into_iter().find(|found| {
                found.purpose == Some(v4l2::Purpose::Camera) && found.card.starts_with(name.as_str())
            });
            match named {
                Some(found) => found.node,
                None => return Err(error),
            }
        }
    };
    let holders = holders(Path::new("/proc"), &path);
    if let Some((process, _)) = holders.iter().find(|(_, name)| name == "menshen") {
        let path = path.display();
        return Ok(Words::new(
            format!("{path} 正由门禁程序使用（进程 {process}）"),
            format!("{path} is in use by the running agent (process {process})"),
        ));
    }
    match holders.first() {
        Some((process, name)) => Err(Error::caused(
            Kind::Busy,
            format!("process {process} ({name}) has the camera: stop it, or name another camera"),
            error,
        )),
        None => Err(error),
    }
}

/// The processes, with their names, that have a file open, as far as this user may see them.
fn holders(processes: &Path, file: &Path) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = fs::read_dir(processes)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let process: u32 = entry.file_name().to_str()?.parse().ok()?;
            let mut open = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
            open.any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file)).then(|| {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                (process, name.trim().to_owned())
            })
        })
        .filter(|(process, _)| *process != std::process::id())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::CameraRole;

    #[test]
    fn who_has_a_camera_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for (process, name, target) in [
            ("12", "menshen\n", "/dev/video0"),
            ("7", "cheese\n", "/dev/video2"),
            ("self", "x", "/dev/video0"),
        ] {
            let process = folder.path().join(process);
            fs::create_dir_all(process.join("fd")).unwrap();
            fs::write(process.join("comm"), name).unwrap();
            symlink("/dev/null", process.join("fd/0")).unwrap();
            symlink(target, process.join("fd/9")).unwrap();
        }
        let holders = |file: &str| holders(folder.path(), Path::new(file));
        assert_eq!(holders("/dev/video0"), [(12, "menshen".to_owned())]);
        assert_eq!(holders("/dev/video2"), [(7, "cheese".to_owned())]);
        assert_eq!(holders("/dev/video4"), []);
    }

    #[test]
    fn a_camera_that_is_not_there_is_explained() {
        let camera = config::Camera::new(CameraRole::Visible, "v4l2:/dev/video4242");
        let error = explain(&camera, 0, Arc::new(SystemClock)).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        let text = error.to_string();
        assert!(text.contains("/dev/video4242") && text.contains("plugged in"), "{text}");
        let camera = config::Camera::new(CameraRole::Visible, "gopher:1");
        let error = explain(&camera, 0, Arc::new(SystemClock)).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
    }
}
