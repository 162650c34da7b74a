//! QR codes for terminals and as pictures.

use std::{
    fs,
    io::{self, BufWriter},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};
use fast_qr::{ECL, QRBuilder, QRCode};

/// Light modules around a code (ISO/IEC 18004 section 6.3.8).
const QUIET: usize = 4;
/// Pixels of a module's side.
const PIXELS: usize = 8;

/// A code as rows of dark and light modules, the quiet zone included.
struct Modules {
    code: QRCode,
}

impl Modules {
    fn of(text: &str) -> Result<Self> {
        let code = QRBuilder::new(text).ecl(ECL::M).build();
        Ok(Self { code: code.map_err(|fault| anyhow!("the text does not fit into a QR code: {fault}"))? })
    }

    const fn side(&self) -> usize {
        self.code.size.saturating_add(QUIET.saturating_mul(2))
    }

    fn is_dark(&self, row: usize, column: usize) -> bool {
        let (Some(row), Some(column)) = (row.checked_sub(QUIET), column.checked_sub(QUIET)) else { return false };
        let size = self.code.size;
        row < size
            && column < size
            && self.code.data.get(row.saturating_mul(size).saturating_add(column)).is_some_and(|module| module.value())
    }
}

/// The code in half blocks, two modules to a character. In a `coloured` terminal it is black on white whatever the
/// terminal's colours are; otherwise it is made for light text on a dark ground.
pub(crate) fn terminal(text: &str, coloured: bool) -> Result<String> {
    let modules = Modules::of(text)?;
    let side = modules.side();
    let mut out = String::new();
    for row in (0..side).step_by(2) {
        if coloured {
            out.push_str("\x1b[30;107m");
        }
        for column in 0..side {
            let upper = modules.is_dark(row, column);
            let lower = modules.is_dark(row.saturating_add(1), column);
            // Blocks stand for dark modules where the colours are known, for light ones where not.
            out.push(match (upper == coloured, lower == coloured) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        if coloured {
            out.push_str("\x1b[0m");
        }
        out.push('\n');
    }
    Ok(out)
}

/// A picture that is going to be written, which only its owner can read, for it is a secret.
pub(crate) struct Picture<'a> {
    path: &'a Path,
    file: fs::File,
    /// Whether the file was not there before.
    new: bool,
}

impl<'a> Picture<'a> {
    /// Opens the file; what is in it stays until the picture is written.
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        let open = |new| {
            fs::OpenOptions::new().write(true).create(true).truncate(false).create_new(new).mode(0o600).open(path)
        };
        let (opened, new) = match open(true) {
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => (open(false), false),
            opened => (opened, true),
        };
        Ok(Self { path, file: opened.with_context(|| unwritten(path))?, new })
    }

    /// There will be no picture: leaves things as they were.
    pub(crate) fn give_up(self) {
        if self.new {
            let _left_empty = fs::remove_file(self.path);
        }
    }

    /// Writes the code.
    pub(crate) fn write(self, text: &str) -> Result<()> {
        let modules = Modules::of(text)?;
        let pixels = modules.side().saturating_mul(PIXELS);
        let width = u32::try_from(pixels).context("the picture is too large")?;
        let mut data = Vec::with_capacity(pixels.saturating_mul(pixels.div_ceil(8)));
        for y in 0..pixels {
            for first in (0..pixels).step_by(8) {
                let octet = (0..8).fold(0_u8, |octet, bit| {
                    let x = first.saturating_add(bit);
                    let light = x >= pixels || !modules.is_dark(y / PIXELS, x / PIXELS);
                    octet << 1 | u8::from(light)
                });
                data.push(octet);
            }
        }
        let said = || unwritten(self.path);
        if self.file.metadata().with_context(said)?.is_file() {
            self.file.set_len(0).with_context(said)?;
        }
        let mut encoder = png::Encoder::new(BufWriter::new(self.file), width, width);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header().with_context(said)?;
        writer.write_image_data(&data).with_context(said)?;
        writer.finish().with_context(said)
    }
}

fn unwritten(path: &Path) -> String {
    format!("the picture {} cannot be written", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "http://localhost:8080/activate#v=1&t=AAAAAAAAAAAAAAAAAAAAAA&k=0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    #[test]
    fn a_code_has_a_quiet_zone_and_the_same_modules_in_both_forms() {
        let dark = terminal(TEXT, false).unwrap();
        let lines: Vec<&str> = dark.lines().collect();
        let side = Modules::of(TEXT).unwrap().side();
        assert_eq!(lines.len(), side.div_ceil(2));
        assert!(lines.iter().all(|line| line.chars().count() == side));
        assert!(lines[0].chars().all(|c| c == '█') && lines[1].chars().all(|c| c == '█'));
        let light = terminal(TEXT, true).unwrap();
        assert!(
            light
                .lines()
                .next()
                .unwrap()
                .trim_start_matches("\x1b[30;107m")
                .trim_end_matches("\x1b[0m")
                .trim()
                .is_empty()
        );

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qr.png");
        Picture::open(&path).unwrap().give_up();
        assert!(!path.exists());
        // Something longer was there before.
        fs::write(&path, vec![0; 1 << 16]).unwrap();
        Picture::open(&path).unwrap().give_up();
        Picture::open(&path).unwrap().write(TEXT).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 1 << 14);
        let mut reader = png::Decoder::new(io::BufReader::new(fs::File::open(&path).unwrap())).read_info().unwrap();
        let mut octets = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut octets).unwrap();
        let modules = Modules::of(TEXT).unwrap();
        let row_octets = (side * PIXELS).div_ceil(8);
        for row in 0..side {
            for column in 0..side {
                let x = column * PIXELS + PIXELS / 2;
                let octet = octets[(row * PIXELS + PIXELS / 2) * row_octets + x / 8];
                assert_eq!(octet >> (7 - x % 8) & 1 == 0, modules.is_dark(row, column), "{row} {column}");
            }
        }
    }
}
