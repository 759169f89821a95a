//! Man pages and completions contain every command of a program.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::stack::program;

const PROGRAMS: [&str; 5] = [
    "auditstorm-backfill",
    "auditstorm-generator",
    "auditstorm-sandbox",
    "auditstorm-suite",
    "auditstorm-verifier",
];

/// The commands that a program lists in its help.
fn commands(name: &str) -> Vec<String> {
    let output = Command::new(program(name)).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn there_are_a_man_page_and_completions_for_every_command() {
    let place = tempfile::tempdir().unwrap();
    let share = place.path();
    let status = Command::new(program("examples/extras")).arg(share).status().unwrap();
    assert!(status.success());
    for name in PROGRAMS {
        let page = read(&share.join(format!("man/man1/{name}.1")));
        let completions = [
            format!("bash-completion/completions/{name}.bash"),
            format!("zsh/site-functions/_{name}"),
            format!("fish/vendor_completions.d/{name}.fish"),
        ]
        .map(|file| read(&share.join(file)));
        let commands = commands(name);
        assert!(commands.len() >= 3, "{name} has {commands:?}");
        for command in commands {
            let reference = format!("{name}-{command}(1)").replace('-', "\\-");
            assert!(page.contains(&reference), "{name}.1 does not refer to {reference}");
            read(&share.join(format!("man/man1/{name}-{command}.1")));
            for text in &completions {
                assert!(text.contains(&command), "no completion for {name} {command}");
            }
        }
    }
}
