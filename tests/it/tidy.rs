use std::fs;
use std::path::{Path, PathBuf};

use landfall::model::failure::Kind;
use landfall::steps;

/// Who may use whom; `docs/architecture.md` says why.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &["model"]),
    ("text", &[]),
    ("steps", &["model", "steps"]),
    ("doors", &["model", "doors"]),
    ("cupboard", &["model", "cupboard"]),
    ("estimate", &["model", "estimate"]),
    ("providers", &["model", "doors", "providers"]),
    ("engine", &["model", "steps", "doors", "cupboard", "providers", "engine", "text"]),
    ("interview", &["model", "steps"]),
    ("front", &["model", "interview", "estimate", "front", "text"]),
    ("probes", &["model", "probes"]),
    ("rehearsal", &["model", "rehearsal"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(sources(&path)),
            path if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}

/// The layer a file of `src` belongs to.
fn layer(path: &Path) -> String {
    let first = path.strip_prefix("src").unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

#[test]
fn layers_know_only_what_they_may() {
    let mut wrong = Vec::new();
    for path in sources(Path::new("src")) {
        let layer = layer(&path);
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            assert!(["main", "lib", "cli"].contains(&layer.as_str()), "{} belongs to no layer", path.display());
            continue;
        };
        for used in layers_used(&fs::read_to_string(&path).unwrap()) {
            if !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What `text` uses of the crate: `crate::model::…`, and each of `crate::{model::{a, b}, steps}`.
fn layers_used(text: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let mut used: Vec<String> = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            used.push(name(rest));
            continue;
        };
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' | ',' if depth == 0 => {
                    used.push(name(&group[begin..at]));
                    begin = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    used.retain(|name| !name.is_empty() && name != "self");
    used
}

#[test]
fn imports_in_groups_are_seen() {
    let text =
        "use crate::{engine::{a, b::{c}}, self as x,\n    steps::check,\n};\nuse crate::model::{d};\n$crate::text::y";
    assert_eq!(layers_used(text), ["engine", "steps", "model", "text"]);
}

#[test]
fn providers_do_not_know_each_other() {
    for path in sources(Path::new("src/providers")) {
        let own = path.strip_prefix("src/providers").unwrap().components().next().unwrap();
        let own = own.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        for other in ["hetzner", "host", "existing"].iter().filter(|other| **other != own) {
            assert!(!text.contains(&format!("providers::{other}::")), "{} uses {other}", path.display());
        }
    }
}

#[test]
fn each_door_has_one_file_and_pure_layers_never_wait() {
    let homes: [(&str, &[&str]); 3] = [
        // To APIs with a token, and to sites without one.
        ("reqwest::", &["src/doors/http.rs", "src/doors/visit.rs"]),
        ("ssh2::", &["src/doors/ssh.rs"]),
        ("process::Command", &["src/rehearsal/engine.rs"]),
    ];
    for (word, homes) in homes {
        let users: Vec<PathBuf> =
            sources(Path::new("src")).into_iter().filter(|p| fs::read_to_string(p).unwrap().contains(word)).collect();
        assert_eq!(users, homes.iter().map(PathBuf::from).collect::<Vec<_>>(), "{word}");
    }
    for folder in ["src/model", "src/steps"] {
        for path in sources(Path::new(folder)) {
            assert!(!fs::read_to_string(&path).unwrap().contains("async fn"), "{}", path.display());
        }
    }
}

#[test]
fn secrets_are_exposed_only_where_they_are_sent_or_filled_in() {
    let users: Vec<String> = sources(Path::new("src"))
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains(".expose()"))
        .map(|path| path.display().to_string())
        .collect();
    let known = [
        "src/cli/secrets.rs",
        "src/cli/wizard/lookups.rs",
        "src/cupboard/vault/file.rs",
        "src/cupboard/vault/memory.rs",
        "src/cupboard/vault/ring.rs",
        "src/doors/http.rs",
        "src/doors/identity.rs",
        "src/doors/ssh.rs",
        "src/providers/host/kinds/files.rs",
        "src/providers/host/modelled.rs",
        "src/providers/host.rs",
        "src/providers/supabase/account.rs",
        "src/providers/supabase/apply.rs",
    ];
    assert_eq!(users, known);
}

#[test]
fn generated_documents_are_current() {
    let schema = format!("{:#}\n", steps::reference::schema());
    for (path, wanted) in [("docs/playbook.md", steps::reference::markdown()), ("docs/playbook.schema.json", schema)] {
        if std::env::var_os("LANDFALL_BLESS").is_some() {
            fs::write(path, &wanted).unwrap();
        }
        let found = fs::read_to_string(path).unwrap_or_default();
        assert!(found == wanted, "{path} is old: LANDFALL_BLESS=1 cargo test generated_documents writes it anew");
    }
}

#[test]
fn every_measure_is_in_the_security_document() {
    let path = "docs/security.md";
    let text = fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("<!-- measures -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end of measures -->\n").unwrap();
    let table = steps::reference::measures();
    let wanted = format!("{before}<!-- measures -->\n{table}<!-- end of measures -->\n{after}");
    if std::env::var_os("LANDFALL_BLESS").is_some() {
        fs::write(path, &wanted).unwrap();
    } else {
        assert!(text == wanted, "{path} is old: LANDFALL_BLESS=1 cargo test security_document writes it anew");
    }
}

#[test]
fn every_exit_code_and_every_event_is_documented() {
    let events = fs::read_to_string("docs/events.md").unwrap();
    for kind in Kind::ALL {
        let name = serde_json::to_value(kind).unwrap();
        let row = format!("| `{}` | {} |", name.as_str().unwrap(), kind.exit_code());
        assert!(events.contains(&row), "docs/events.md lacks {row}");
    }
    let source = fs::read_to_string("src/model/event.rs").unwrap();
    let body = source.split("pub enum What {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let variants =
        body.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| line.starts_with(char::is_uppercase));
    let mut count = 0;
    for variant in variants {
        let name: String = variant.chars().take_while(char::is_ascii_alphanumeric).collect();
        let mut kebab = String::new();
        for c in name.chars() {
            if c.is_uppercase() && !kebab.is_empty() {
                kebab.push('-');
            }
            kebab.push(c.to_ascii_lowercase());
        }
        assert!(events.contains(&format!("`{kebab}`")), "docs/events.md lacks {kebab}");
        count += 1;
    }
    assert!(count > 10);
}

#[test]
fn files_stay_readable_and_no_test_file_is_forgotten() {
    for path in [sources(Path::new("src")), sources(Path::new("tests"))].concat() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= 600, "{} is two files", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!["util.rs", "utils.rs", "helpers.rs", "common.rs"].contains(&name), "{}", path.display());
    }
    let main = fs::read_to_string("tests/it/main.rs").unwrap();
    for path in sources(Path::new("tests/it")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            name == "main" || main.contains(&format!("mod {name};")),
            "{} is not part of the tests",
            path.display()
        );
    }
}

#[test]
fn the_schema_of_playbooks_and_its_code_agree_on_the_version() {
    let schema = steps::reference::schema();
    assert_eq!(schema["properties"]["schema"]["const"], landfall::model::playbook::SCHEMA);
}
