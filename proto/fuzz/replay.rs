//! Runs inputs that were kept through their targets: shared by the packages that have any.
//!
//! `fuzz/NAME.hex` of a package has one input per line; what follows a `#` is for readers.

use std::path::Path;

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// Says which input it was, if its target panics.
struct Input<'a>(&'static str, &'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("target {}, input {hex}", self.0);
        }
    }
}

fn decode(line: &str) -> Vec<u8> {
    let digits = line.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16);
    digits.map(|pair| byte(pair).expect("hex digits")).collect()
}

/// Runs the seeds and the kept inputs of all targets of the package in `folder`.
pub fn all(targets: &[Target], folder: &str) {
    let folder = Path::new(folder).join("fuzz");
    for &(name, run, seeds) in targets {
        let path = folder.join(format!("{name}.hex"));
        let kept = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let kept = kept.lines().filter_map(|line| line.split('#').next());
        let kept = kept
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(decode);
        for input in seeds().into_iter().chain(kept) {
            let input = Input(name, &input);
            run(input.1);
        }
    }
    for file in std::fs::read_dir(&folder).expect("the folder of kept inputs") {
        let name = file
            .expect("a file")
            .file_name()
            .into_string()
            .expect("a plain name");
        let known = |stem: &str| targets.iter().any(|target| target.0 == stem);
        assert!(
            name.strip_suffix(".hex").is_none_or(known),
            "{name} belongs to no target"
        );
    }
}
