//! Every fuzz target of the project in one program around libFuzzer; `scripts/fuzz` runs it.
//!
//! `ZWEIG_FUZZ` says what to do: `list`, `unpack TARGET FOLDER` (kept inputs and seeds, a file each, as libFuzzer wants
//! them), `pack TARGET FOLDER` (back into the package's `fuzz/TARGET.hex`), or `run TARGET`, with libFuzzer's own arguments.

#![no_main]

use std::alloc::System;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, process};

use cap::Cap;

/// Bytes that a target may hold at a time; an allocation beyond fails, and that ends the process.
const MEMORY_BYTES: usize = 192 << 20;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// Packages by their folder, and their targets.
const PACKAGES: &[(&str, &[Target])] = &[
    ("proto", zweig_proto::fuzz::TARGETS),
    ("client", zweig_client::fuzz::TARGETS),
    ("broker", zweig_broker::fuzz::TARGETS),
    ("coordinator", zweig_coordinator::fuzz::TARGETS),
];

static RUN: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: begin(),
    |bytes: &[u8]| {
        let run = RUN.get().expect("chosen when the process began");
        let _ = MEMORY.set_limit(MEMORY.allocated() + MEMORY_BYTES);
        run(bytes);
        let _ = MEMORY.set_limit(usize::MAX);
    }
);

fn begin() {
    let command = env::var("ZWEIG_FUZZ").unwrap_or_default();
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["run", name] => {
            let (_, target) = find(name);
            RUN.get_or_init(|| target.1);
            return;
        }
        ["list"] => {
            for (_, targets) in PACKAGES {
                targets.iter().for_each(|target| println!("{}", target.0));
            }
        }
        ["unpack", name, folder] => unpack(name, Path::new(folder)),
        ["pack", name, folder] => pack(name, Path::new(folder)),
        _ => fail(
            "ZWEIG_FUZZ is none of: list, run TARGET, unpack TARGET FOLDER, pack TARGET FOLDER",
        ),
    }
    process::exit(0);
}

fn fail(reason: &str) -> ! {
    eprintln!("{reason}");
    process::exit(2)
}

fn find(name: &str) -> (&'static str, &'static Target) {
    let all = PACKAGES
        .iter()
        .flat_map(|(folder, targets)| targets.iter().map(move |target| (*folder, target)));
    let mut named = all.filter(|(_, target)| target.0 == name);
    named
        .next()
        .unwrap_or_else(|| fail(&format!("there is no target {name:?}")))
}

/// The file that keeps a target's inputs.
fn kept(package: &str, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    root.join(package).join("fuzz").join(format!("{name}.hex"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inputs of a file as hexadecimal digits, and the lines that say more than that.
fn read(path: &Path) -> (BTreeSet<String>, Vec<String>) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let (said, plain): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.contains('#'));
    let inputs = plain
        .iter()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty());
    (
        inputs.collect(),
        said.into_iter().map(str::to_owned).collect(),
    )
}

fn unpack(name: &str, folder: &Path) {
    let (package, target) = find(name);
    let (inputs, said) = read(&kept(package, name));
    let said = said.iter().filter_map(|line| line.split('#').next());
    let lines = inputs.iter().map(String::as_str).chain(said.map(str::trim));
    let decode = |line: &str| -> Vec<u8> {
        let digits: Vec<char> = line.chars().collect();
        let byte =
            |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).expect("hex digits");
        digits.chunks(2).map(byte).collect()
    };
    let inputs = lines
        .filter(|line| !line.is_empty())
        .map(decode)
        .chain((target.2)());
    for (number, input) in inputs.enumerate() {
        fs::write(folder.join(format!("{number:05}")), input).expect("a writable folder");
    }
}

/// Keeps what is in `folder`, but for what the seeds are anyway; lines with a remark stay as they are.
fn pack(name: &str, folder: &Path) {
    let (package, target) = find(name);
    let path = kept(package, name);
    let (_, said) = read(&path);
    let mut known: BTreeSet<String> = (target.2)().iter().map(|seed| hex(seed)).collect();
    known.extend(
        said.iter()
            .filter_map(|line| Some(line.split('#').next()?.trim().to_owned())),
    );
    let files = fs::read_dir(folder).expect("a readable folder").flatten();
    let inputs = files.map(|file| hex(&fs::read(file.path()).expect("a readable file")));
    let inputs: BTreeSet<String> = inputs
        .filter(|input| !input.is_empty() && !known.contains(input))
        .collect();
    let mut lines: Vec<String> = inputs.into_iter().collect();
    lines.sort_by_key(|line| line.len());
    let text: String = said
        .into_iter()
        .chain(lines)
        .map(|line| line + "\n")
        .collect();
    fs::write(&path, text).expect("a writable file of kept inputs");
}
