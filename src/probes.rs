//! Outside judges: what they are asked, and what their reports mean. Pure; others start them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a judge said of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who said it.
    pub judge: String,
    /// Of what: a server's step, or a site's name.
    pub of: String,
    /// The result in its own measure.
    pub score: String,
    /// How many single tests it made, so that one left out does not flatter; 0 where it does not say.
    pub tests: u32,
}

/// The arguments with which ssh-audit judges sshd at `address` and `port`. Its rate test is left out: it makes
/// dozens of connections, for which newer sshds shut us out.
pub fn ssh_audit_arguments(address: &str, port: u16) -> Vec<String> {
    ["--json", "--skip-rate-test", "--port", &port.to_string(), address].map(str::to_owned).into()
}

/// Reads ssh-audit's report on `of`; `None` where it is none.
pub fn read_ssh_audit(report: &str, of: &str) -> Option<Verdict> {
    let report: Value = serde_json::from_str(report).ok()?;
    let lists = ["kex", "key", "enc", "mac"];
    let entries: Vec<&Value> = lists.iter().filter_map(|list| report[*list].as_array()).flatten().collect();
    let remarks = |kind: &str| entries.iter().filter_map(|e| e["notes"][kind].as_array()).map(Vec::len).sum::<usize>();
    let tests = u32::try_from(entries.len()).ok().filter(|tests| *tests > 0)?;
    let score = format!("{} failures, {} warnings", remarks("fail"), remarks("warn"));
    Some(Verdict { judge: "ssh-audit".to_owned(), of: of.to_owned(), score, tests })
}

/// The script with which Lynis judges the host it runs on, as root. Its lines begin with `mark`; `none` says that
/// it is not installed.
pub fn lynis_script(mark: &str) -> String {
    include_str!("../templates/audit-lynis").replace("@MARK@", mark)
}

/// Reads what the script above told of the host `of`, lines without their mark; `None` where Lynis told nothing.
pub fn read_lynis(lines: &[String], of: &str) -> Option<Verdict> {
    let value =
        |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')?.parse::<u32>().ok());
    let score = format!("{} of 100", value("hardening_index")?);
    Some(Verdict { judge: "Lynis".to_owned(), of: of.to_owned(), score, tests: value("lynis_tests_done")? })
}

/// The arguments with which testssl judges the site `name` at `address`, with its report in `file`.
pub fn testssl_arguments(name: &str, address: &str, file: &str) -> Vec<String> {
    ["--quiet", "--color", "0", "--jsonfile", file, "--ip", address, name].map(str::to_owned).into()
}

/// Reads testssl's report on the site `of`; `None` where it gives no grade, as before version 3.2.
pub fn read_testssl(report: &str, of: &str) -> Option<Verdict> {
    let report: Value = serde_json::from_str(report).ok()?;
    let entries = report.as_array()?;
    let found = |id: &str| entries.iter().find(|entry| entry["id"] == id).and_then(|entry| entry["finding"].as_str());
    let score = found("overall_grade")?.to_owned();
    Some(Verdict { judge: "testssl".to_owned(), of: of.to_owned(), score, tests: u32::try_from(entries.len()).ok()? })
}

/// One line for people: who, of what, and the result beside the one before.
pub fn in_words(now: &Verdict, before: Option<&Verdict>) -> String {
    let before = match before {
        Some(before) if before.score == now.score => "  as before".to_owned(),
        Some(before) => format!("  before: {}", before.score),
        None => String::new(),
    };
    format!("{:<10} {:<20} {:<28} {:>4} tests{before}", now.judge, now.of, now.score, now.tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_and_anything_else_is_no_verdict() {
        let report = r#"{"kex":[{"algorithm":"a","notes":{"warn":["x","y"]}}],"key":[{"algorithm":"b","notes":{"fail":["z"]}}],
                        "enc":[{"algorithm":"c","notes":{"info":["i"]}}],"mac":[]}"#;
        let verdict = read_ssh_audit(report, "web").unwrap();
        assert_eq!((verdict.score.as_str(), verdict.tests), ("1 failures, 2 warnings", 3));
        let lines = ["hardening_index=86", "lynis_tests_done=255"].map(str::to_owned);
        assert_eq!(read_lynis(&lines, "web").unwrap().score, "86 of 100");
        let report = r#"[{"id":"service","finding":"HTTP"},{"id":"overall_grade","finding":"A+"}]"#;
        assert_eq!(read_testssl(report, "a.test").unwrap().score, "A+");
        for nothing in ["", "{}", "[]", "no json"] {
            assert_eq!(read_ssh_audit(nothing, "web"), None);
            assert_eq!(read_testssl(nothing, "web"), None);
        }
        assert_eq!(read_lynis(&["none".to_owned()], "web"), None);
    }

    #[test]
    fn a_verdict_stands_beside_the_one_before() {
        let verdict =
            |score: &str| Verdict { judge: "Lynis".into(), of: "web".into(), score: score.into(), tests: 255 };
        let line = in_words(&verdict("86 of 100"), Some(&verdict("61 of 100")));
        assert!(line.contains("86 of 100") && line.contains("before: 61 of 100"), "{line}");
        assert!(in_words(&verdict("86 of 100"), Some(&verdict("86 of 100"))).contains("as before"));
        assert!(!in_words(&verdict("86 of 100"), None).contains("before"));
    }
}
