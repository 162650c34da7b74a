//! Laws of reading `countersign.toml`, asserted over arbitrary octets. The fuzz target `configuration` calls it, and the test
//! below calls it for every file under `testdata/fuzz_regression/configuration/`.

use std::path::Path;

use super::Config;

/// The text of a configuration file.
///
/// Laws: nothing panics; what is wrong is said in one line; whatever is taken means the same when it is read again, and
/// opens the app's listener to other machines only with TLS or behind a proxy that is named.
///
/// # Panics
/// Where a law is broken.
pub(crate) fn configuration(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    let data = Path::new("/data");
    match Config::parse(data, text) {
        Err(fault) => {
            let said = format!("{fault:#}");
            assert!(!said.is_empty() && !said.contains('\n'), "{said:?}");
        }
        Ok(config) => {
            let Ok(again) = Config::parse(data, text) else { unreachable!("it was read before") };
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
            let guarded = config.tls.is_some() || !config.trusted_proxies.is_empty();
            assert!(guarded || config.app_listen.ip().is_loopback(), "{}", config.app_listen);
            assert!(config.tls.is_none() || config.url.is_https());
            assert!(!config.radius_listen.is_empty());
            assert!(config.limits.logins > 0 && config.limits.logins_per_client > 0);
            assert!((1..=64).contains(&config.organization.chars().count()));
            assert!(!config.organization.chars().any(char::is_control));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, panic::catch_unwind};

    use super::*;

    #[test]
    fn s113_configuration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz_regression/configuration");
        let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        let broken: Vec<_> =
            files.iter().filter(|path| catch_unwind(|| configuration(&fs::read(path).unwrap())).is_err()).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }
}
