//! Whatever a chip holds as its photo in JPEG 2000: it is decoded to a JPEG or refused, without a panic, in time and memory that
//! have bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::device::chip::face;
use menshen::vision::picture::Picture;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(jpeg) = face::jpeg2000(bytes) {
        Picture::default().decode_file(&jpeg).expect("what is written is a JPEG");
    }
});
