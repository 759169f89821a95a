//! Results of an earlier check, which nobody should take for results of this check.
//!
//! They are renamed when a check begins, so that a check that fails leaves nothing that a CI job
//! would collect as new. They are removed when the new results are written.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The results that an earlier check left in a directory.
#[derive(Debug)]
pub(crate) struct Earlier {
    dir: PathBuf,
    names: Vec<&'static str>,
}

impl Earlier {
    /// Renames results: `junit.xml` becomes `junit.xml.earlier`. Calls `story` for each that cannot
    /// be renamed.
    pub(crate) fn set_aside(dir: &Path, names: &[&'static str], story: fn(&str)) -> Self {
        let is_there = |name: &&'static str| {
            let (path, aside) = (dir.join(name), dir.join(aside(name)));
            match fs::rename(&path, &aside) {
                Ok(()) => true,
                Err(error) if error.kind() == ErrorKind::NotFound => aside.exists(),
                Err(error) => {
                    let path = path.display();
                    story(&format!(
                        "{path} is from an earlier check, and cannot be renamed: {error}"
                    ));
                    true
                }
            }
        };
        let names = names.iter().copied().filter(is_there).collect();
        Self { dir: dir.to_owned(), names }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The names of the results that existed.
    pub(crate) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Removes a renamed result after the new one was written.
    pub(crate) fn forget(&self, name: &str) {
        // If it cannot be removed, its name still says what it is.
        fs::remove_file(self.dir.join(aside(name))).ok();
    }
}

fn aside(name: &str) -> String {
    format!("{name}.earlier")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_check_has_left_has_a_name_of_its_own_until_there_is_another() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::write(path("junit.xml"), "of before").unwrap();
        fs::create_dir_all(path("report.html.earlier/full")).unwrap();
        fs::write(path("report.html"), "cannot be set aside").unwrap();
        let names = ["junit.xml", "report.html", "report.md"];
        // This must also work if the check in between has failed.
        for _ in 0..2 {
            let earlier = Earlier::set_aside(place.path(), &names, |_| {});
            assert_eq!(earlier.names(), ["junit.xml", "report.html"]);
            assert!(!path("junit.xml").exists() && path("report.html").exists());
            assert_eq!(fs::read_to_string(path("junit.xml.earlier")).unwrap(), "of before");
        }
        Earlier::set_aside(place.path(), &names, |_| {}).forget("junit.xml");
        assert!(!path("junit.xml.earlier").exists());
    }
}
