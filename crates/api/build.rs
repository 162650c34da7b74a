//! Takes the built app, `web/authenticator/dist`, into the library; where it was not built, nothing.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other("not run by cargo"));
    let app = variable("CARGO_MANIFEST_DIR")?.join("../../web/authenticator");
    let out = variable("OUT_DIR")?;
    let dist = app.join("dist");
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", dist.display());
        collect(&dist, "", &mut files)?;
    } else {
        // A build of the app makes the folder, which cargo sees by this one.
        println!("cargo::rerun-if-changed={}", app.display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    files.sort();

    // Copied first: who builds the app anew at the same time does not take a file away from under the compiler.
    let copies = out.join("app");
    if copies.exists() {
        fs::remove_dir_all(&copies)?;
    }
    fs::create_dir(&copies)?;
    let mut table = String::from("&[\n");
    for (number, (path, file)) in files.iter().enumerate() {
        fs::copy(file, copies.join(number.to_string()))?;
        let _infallible =
            writeln!(table, "    ({path:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/app/{number}\"))),");
    }
    table.push_str("]\n");
    fs::write(out.join("app_files.rs"), table)
}

/// Paths as a browser asks for them, and files.
fn collect(folder: &Path, path: &str, out: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{path}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, out)?;
        } else {
            out.push((path, entry.path()));
        }
    }
    Ok(())
}
