//! Folders whose names outlive a loss of power. A synced file is no good in a folder that nobody synced the name of:
//! some systems write it along, POSIX does not ask them to.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes a folder, with those above it that are missing. Its name, and theirs, are durable when this returns; that
/// of a folder which was there already too, since whoever made it may have ended in between.
///
/// # Errors
/// As the system's.
pub fn make(folder: &Path) -> io::Result<()> {
    let above = |folder: &Path| folder.parent().map(Path::to_owned);
    let mut unsynced: Vec<_> = above(folder).into_iter().collect();
    for missing in folder.ancestors().skip(1).take_while(|f| !f.exists()) {
        unsynced.extend(above(missing));
    }
    fs::create_dir_all(folder)?;
    for parent in unsynced {
        let parent = match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => &parent,
        };
        match File::open(parent) {
            Ok(parent) => parent.sync_all()?,
            // A folder that we may not look into is not ours, and was there before.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_what_is_missing_and_is_content_with_what_is_there() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("a/b/c");
        make(&folder).unwrap();
        make(&folder).unwrap();
        assert!(folder.is_dir());
        fs::write(base.path().join("file"), "").unwrap();
        make(&base.path().join("file/d")).unwrap_err();
    }
}
