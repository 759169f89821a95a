//! Writes the man pages and shell completions of all programs into a folder like /usr/local/share:
//! `extras FOLDER`.
//!
//! It is an example, so that building the programs does not build it.

use std::error::Error;
use std::path::Path;
use std::{env, fs, io};

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};

/// Where each shell looks for completions, below a folder like /usr/local/share.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/site-functions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let share = env::args_os().nth(1).ok_or("usage: extras FOLDER")?;
    let programs = [
        ("auditstorm-backfill", auditstorm_backfill::cli::Cli::command()),
        ("auditstorm-generator", auditstorm_generator::cli::Cli::command()),
        ("auditstorm-sandbox", auditstorm_sandbox::Cli::command()),
        ("auditstorm-suite", auditstorm_suite::cli::Cli::command()),
        ("auditstorm-verifier", auditstorm_verifier::cli::Cli::command()),
    ];
    for (name, program) in programs {
        write(name, program, Path::new(&share))?;
    }
    Ok(())
}

fn write(name: &'static str, program: Command, share: &Path) -> io::Result<()> {
    // Hidden commands are left out, because completions would offer them.
    let shown = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut shown = Command::new(name).version("").subcommands(shown);
    for (shell, folder) in SHELLS {
        let folder = share.join(folder);
        fs::create_dir_all(&folder)?;
        generate_to(shell, &mut shown, name, &folder)?;
    }
    let pages = share.join("man/man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(program, &pages)
}
