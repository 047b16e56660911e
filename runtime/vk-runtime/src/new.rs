//! `vk-runtime new`: a provider's project that stands alone, with the kit and the contract it was made for inside.
//!
//! Made of what is embedded: a template of `providers-wasm/template`, `providers-wasm/sdk` with `wit/`, and the values that
//! both inherit of their workspace, written out. Refuses a folder that exists, and changes nothing where it fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

/// What a provider is made from: paths below `providers-wasm/`, and contents.
const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

const TARGET: &str = "wasm32-wasip2";
/// Longest name.
const LONGEST: usize = 63;

#[derive(Debug, Args)]
pub struct NewArguments {
    /// Name of the provider, and of the folder to make
    #[arg(value_name = "NAME", value_parser = provider_name)]
    name: String,
    /// The language it is written in: rust
    #[arg(long, value_name = "LANGUAGE", default_value = "rust", value_parser = language)]
    lang: Language,
    /// What the backend runs: whole pods, or containers (then the host is the kubelet)
    #[arg(long, value_name = "KIND", default_value = "pods", value_parser = ["pods", "containers"])]
    kind: String,
}

#[derive(Clone, Copy, Debug)]
enum Language {
    Rust,
}

fn language(text: &str) -> Result<Language, String> {
    match text {
        "rust" => Ok(Language::Rust),
        _ => Err("there are templates for: rust".to_owned()),
    }
}

/// A name that cargo takes for a package, and a Node's taint for its value.
fn provider_name(text: &str) -> Result<String, String> {
    let fits = text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.len() <= LONGEST
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !fits {
        return Err(format!("a provider's name begins with a-z, and has a-z, 0-9 and `-` after it, at most {LONGEST}"));
    }
    // As a crate it would be what it depends on, what the language has, or what cargo makes.
    const TAKEN: &[&str] = &["sdk", "src", "std", "core", "alloc", "test", "build", "deps", "examples", "incremental"];
    let depended = embedded("Cargo.lock").lines().any(|line| line == format!("name = \"{text}\""));
    let own = matches!(text, "mock" | "hyper" | "template-pods" | "template-containers");
    if TAKEN.contains(&text) || KEYWORDS.contains(&text) || depended && !own {
        return Err(format!("a Rust package can't well be called `{text}`"));
    }
    Ok(text.to_owned())
}

/// Rust's keywords of five editions, which no crate can be called.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

pub fn new(arguments: &NewArguments) -> Result<()> {
    let NewArguments { name, lang: Language::Rust, kind } = arguments;
    write(Path::new(name), name, kind)?;
    let wasm = name.replace('-', "_");
    let mut shown = format!(
        "Made {name}, a provider of the kind `{kind}`. README.md goes on from here:\n\n    \
         cd {name}\n    \
         cargo test\n    \
         cargo build --release --target {TARGET}\n    \
         vk-runtime inspect target/{TARGET}/release/{wasm}.wasm\n"
    );
    if !has_target(Path::new(name)) {
        shown += &format!(
            "\nRust's target {TARGET} is not installed here. rustup gets it with the first build, or now:\n\n    \
             rustup target add {TARGET}\n\n\
             README.md says how to build without rustup.\n"
        );
    }
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        print!("{shown}");
    }
    Ok(())
}

/// Whether the toolchain that the new project uses can build it. Asks nobody over the network.
fn has_target(project: &Path) -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .env("RUSTUP_AUTO_INSTALL", "0")
        .current_dir(project)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    asked.is_ok_and(|own| own.status.success() && Path::new(String::from_utf8_lossy(&own.stdout).trim()).is_dir())
}

/// Makes the folder, whole or not at all.
fn write(folder: &Path, name: &str, kind: &str) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{} is there already", folder.display()),
        made => made.with_context(|| format!("the folder {} can't be made", folder.display()))?,
    }
    let written = files(name, kind).iter().try_for_each(|(path, content)| -> Result<()> {
        let path = folder.join(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content));
        made.with_context(|| format!("{} can't be written", path.display()))
    });
    if written.is_err() {
        // Half of it would be in the way of the next attempt; what went wrong is told anyway.
        let _ = fs::remove_dir_all(folder);
    }
    written
}

/// The project's files, by path.
fn files(name: &str, kind: &str) -> BTreeMap<String, String> {
    let workspace = embedded("Cargo.toml");
    let (own, other) = (format!("template-{kind}"), format!("template_{kind}"));
    let named = |text: &str| text.replace(&own, name).replace(&other, &name.replace('-', "_"));
    let mut files = BTreeMap::new();
    for (path, content) in EMBEDDED {
        if let Some(path) = path.strip_prefix(&format!("template/{kind}/")) {
            let content = if path == "Cargo.toml" { project(content, workspace) } else { (*content).to_owned() };
            files.insert(path.to_owned(), named(&content));
        } else if let Some(path) = path.strip_prefix("template/shared/") {
            // What begins with a dot would count for the template itself.
            let path = if path == "gitignore" { ".gitignore" } else { path };
            files.insert(path.to_owned(), named(content));
        } else if *path == "sdk/Cargo.toml" {
            files.insert((*path).to_owned(), inherited(content, workspace, true));
        } else if path.starts_with("sdk/") || *path == "Cargo.lock" {
            files.insert((*path).to_owned(), (*content).to_owned());
        }
    }
    files
}

fn embedded(wanted: &str) -> &'static str {
    EMBEDDED.iter().find(|(path, _)| *path == wanted).map_or("", |(_, content)| content)
}

/// The manifest of the project: its template's, standing alone. Licence and lints are its author's to choose.
fn project(template: &str, workspace: &str) -> String {
    let kept: String = template
        .lines()
        .filter(|line| !line.starts_with("license"))
        .fold(String::new(), |text, line| text + line + "\n");
    let profile = workspace.find("# Instances are made").and_then(|at| workspace.get(at..)).unwrap_or_default();
    format!(
        "{}\n# Whatever folder it lies in, it stands alone.\n[workspace]\n\n{profile}",
        inherited(&kept, workspace, false)
    )
}

/// A manifest in which what it inherits of its workspace is written out.
fn inherited(manifest: &str, workspace: &str, with_lints: bool) -> String {
    let mut written = String::new();
    let mut section = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if section == "[lints]" {
            continue;
        }
        let line = match line.strip_suffix(".workspace = true") {
            Some(key) => {
                let table = if section == "[package]" { "[workspace.package]" } else { "[workspace.dependencies]" };
                value(workspace, table, key).unwrap_or(line)
            }
            None => line,
        };
        written += line;
        written += "\n";
    }
    written.truncate(written.trim_end().len());
    written += "\n";
    if with_lints {
        for table in ["rust", "clippy"] {
            written += &format!("\n[lints.{table}]\n");
            for line in table_of(workspace, &format!("[workspace.lints.{table}]")) {
                written += line;
                written += "\n";
            }
        }
    }
    written
}

/// The line of a key in a table.
fn value<'a>(manifest: &'a str, table: &str, key: &str) -> Option<&'a str> {
    table_of(manifest, table).find(|line| line.split_once(" = ").is_some_and(|(own, _)| own == key))
}

/// The lines of a table that say something.
fn table_of<'a>(manifest: &'a str, table: &str) -> impl Iterator<Item = &'a str> {
    let lines = manifest.lines().skip_while(move |line| *line != table).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_cargo_and_kubernetes_take() {
        for good in ["aci", "my-provider", "x1", "mock"] {
            assert_eq!(provider_name(good).unwrap(), good);
        }
        for (bad, says) in [
            ("", "begins with a-z"),
            ("Mine", "begins with a-z"),
            ("1st", "begins with a-z"),
            ("a_b", "begins with a-z"),
            ("a-", "begins with a-z"),
            ("../a", "begins with a-z"),
            (&"a".repeat(64), "at most 63"),
            ("serde", "`serde`"),
            ("vk-provider-sdk", "`vk-provider-sdk`"),
            ("async", "`async`"),
            ("sdk", "`sdk`"),
        ] {
            let error = provider_name(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn an_unknown_language_is_told_which_there_are() {
        assert_eq!(language("go").unwrap_err(), "there are templates for: rust");
    }

    #[test]
    fn a_project_stands_alone() {
        for kind in ["pods", "containers"] {
            let files = files("my-cloud", kind);
            let has = |path: &str| files.get(path).unwrap_or_else(|| panic!("{path} is missing of {:?}", files.keys()));
            for path in ["README.md", ".gitignore", "rust-toolchain.toml", "Cargo.lock", "src/lib.rs", "sdk/src/lib.rs"]
            {
                assert!(!has(path).is_empty());
            }
            for path in ["sdk/wit/host/http.wit", "sdk/wit/provider/pods.wit"] {
                assert!(has(path).contains("interface"));
            }
            let manifest = has("Cargo.toml");
            assert!(manifest.contains("name = \"my-cloud\"") && manifest.contains("[workspace]\n"), "{manifest}");
            // The lock holds what other templates need too, until cargo has looked at it.
            for (path, content) in files.iter().filter(|(path, _)| *path != "Cargo.lock") {
                assert!(!content.contains("workspace = true"), "{path}");
                assert!(!content.contains("template-") && !content.contains("template_"), "{path}");
            }
        }
    }

    #[test]
    fn what_is_there_already_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("vk-new-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let error = write(&folder, "mine", "pods").unwrap_err();
        assert!(error.to_string().ends_with("is there already"), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
    }
}
