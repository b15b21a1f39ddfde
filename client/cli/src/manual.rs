//! `zweig completions` and `zweig man`: what shells and `man` want to know, written from the command line's own description.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Command;
use clap_complete::Shell;

use crate::context::Context;

/// Arguments of `zweig completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig completions bash > ~/.local/share/bash-completion/completions/zweig\n  \
                  zweig completions zsh > ~/.zfunc/_zweig\n  \
                  zweig completions fish > ~/.config/fish/completions/zweig.fish"
)]
pub struct Completions {
    /// Which shell.
    shell: Shell,
}

/// Arguments of `zweig man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig man ~/.local/share/man/man1 && man zweig-topic-create")]
pub struct Man {
    /// The folder for the pages; it is made if it is not there.
    folder: PathBuf,
}

/// Prints the script.
///
/// # Errors
/// Of the write.
pub fn completions(context: &Context, mut command: Command, args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "zweig", &mut script);
    Ok(context.output().bytes(&script)?)
}

/// Writes a page for the program and for each subcommand.
///
/// # Errors
/// If a file cannot be written.
pub fn man(context: &Context, command: Command, args: &Man) -> Result<()> {
    let folder = &args.folder;
    let failed = || format!("cannot write the pages to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(command, folder).with_context(failed)?;
    let told = format!("pages in {}", folder.display());
    Ok(context.output().line(&told)?)
}
