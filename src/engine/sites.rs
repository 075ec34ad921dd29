//! Sites, asked from outside once everything is as wanted: what a server says of itself is not what a visitor meets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::doors::visit::{Met, leads_to, visit};
use crate::engine::survey::Survey;
use crate::engine::teller::Teller;
use crate::engine::{Goal, Run};
use crate::model::event::{Progress, What};
use crate::model::failure::{Failure, Kind};
use crate::model::name::{Name, is_public_name};
use crate::model::playbook::Playbook;
use crate::providers::host::modelled;
use crate::steps::app::AppAnswers;
use crate::steps::firewall::{FirewallAnswers, Opening, WebFrom};
use crate::steps::proxy::{ProxyAnswers, TlsMode};

/// How far apart a site is asked that does not answer well.
const GAP: Duration = Duration::from_secs(1);

/// A site visitors can see.
#[derive(Clone, Debug, PartialEq)]
struct Site {
    host: String,
    /// What is asked for.
    path: String,
    /// Is that what the app answers well at while it is healthy?
    has_health: bool,
    server: Name,
    /// May its certificate be one that a public authority makes only once DNS leads to the server?
    waits_for_dns: bool,
    /// Why it cannot be asked from here, where its firewall blocks direct visitors.
    not_asked: Option<&'static str>,
}

/// Every app that has a name and a proxy in front of it.
fn sites(playbook: &Playbook) -> Vec<Site> {
    fn all<A: for<'a> serde::Deserialize<'a> + Send + Sync + 'static>(
        playbook: &Playbook,
        kind: &str,
    ) -> Vec<std::sync::Arc<A>> {
        let entries = playbook.steps.iter().filter(|entry| entry.kind == kind);
        entries.filter_map(|entry| entry.answers::<A>().ok()).collect()
    }
    let (proxies, firewalls) = (all::<ProxyAnswers>(playbook, "proxy"), all::<FirewallAnswers>(playbook, "firewall"));
    let apps = all::<AppAnswers>(playbook, "app");
    let of_app = |app: &std::sync::Arc<AppAnswers>| {
        let proxy = proxies.iter().find(|proxy| proxy.on == app.on)?;
        let firewall = firewalls.iter().find(|firewall| firewall.on == app.on);
        let host = app.host.clone()?;
        Some(Site {
            path: app.health.clone().unwrap_or_else(|| "/".to_owned()),
            has_health: app.health.is_some(),
            server: app.on.clone(),
            waits_for_dns: proxy.tls != TlsMode::Internal && is_public_name(&host),
            not_asked: firewall.and_then(|firewall| closed_by(firewall)),
            host,
        })
    };
    apps.iter().filter_map(of_app).collect()
}

/// Why `firewall` keeps out whoever asks for a site from here, where it does.
fn closed_by(firewall: &FirewallAnswers) -> Option<&'static str> {
    let is_open = |opening: &Opening| matches!(opening, Opening::Https | Opening::Tcp(443));
    match firewall.web_from {
        _ if !firewall.open.iter().any(is_open) => Some("its server's firewall does not open HTTPS (`open`)"),
        WebFrom::Cloudflare => Some("its server lets in Cloudflare's proxies only (`web_from`)"),
        WebFrom::Anywhere => None,
    }
}

/// What a visit comes to.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The site answers.
    Good(String),
    /// It does not yet, for a reason outside the server that a person knows of.
    Pending(String),
    /// It does not.
    Bad(String),
}

/// Judges what was `met` at `address`. `leads` says where DNS leads, where that was asked.
fn judge(site: &Site, address: IpAddr, met: &Met, leads: Option<&[IpAddr]>) -> Verdict {
    match met {
        Met::Status(status @ (502 | 504)) => {
            Verdict::Bad(format!("answers {status}: the proxy does not reach the app"))
        }
        Met::Status(status @ 500..) if site.has_health => Verdict::Bad(format!("answers {status}")),
        // Without a path that is to answer well, what the app says at `/` is its own affair.
        Met::Status(status @ 500..) => Verdict::Pending(format!("answers {status} at /")),
        Met::Status(status) => Verdict::Good(format!("answers {status}")),
        Met::Closed(why) => Verdict::Bad(format!(
            "nothing answers on port 443 of {address} from here ({why}): a firewall in between, of the provider or of \
             somebody else on the server?"
        )),
        Met::Mute(why) => match leads {
            Some(leads) if !leads.contains(&address) => {
                let leads = match leads {
                    [] => "nowhere".to_owned(),
                    [first, ..] => format!("to {first}"),
                };
                Verdict::Pending(format!(
                    "leads {leads}, not to {address}: there is no certificate before DNS leads to the server"
                ))
            }
            _ => Verdict::Bad(format!("does not speak HTTPS ({why}): `journalctl -u caddy` on the server says why")),
        },
    }
}

/// Asks every site of the playbook, side by side, and tells what was met. Fails when one does not answer well.
pub(super) async fn ask(run: &Run, survey: &Survey, goal: Goal, teller: &Teller) -> Result<(), Failure> {
    if modelled::is_asked_for(&run.doors) {
        return Ok(());
    }
    let addresses: BTreeMap<&Name, IpAddr> = survey
        .wanted
        .iter()
        .filter_map(|resource| resource.on.as_ref())
        .filter_map(|at| Some((&at.step, at.address.to_string().parse().ok()?)))
        .collect();
    let simulated = run.doors.http.is_simulated();
    let mut asking = JoinSet::new();
    for site in sites(&run.playbook) {
        let Some(address) = addresses.get(&site.server).copied() else { continue };
        if let Some(why) = site.not_asked {
            let text = format!("https://{}{} is not asked from here: {why}", site.host, site.path);
            teller.tell(What::Note { text })?;
            continue;
        }
        let report = teller.report(false);
        // What was just made may take a moment; what has been there for long answers at once.
        let tries = if goal == Goal::Apply { 30 } else { 3 };
        asking.spawn(async move {
            let mut tried = 0;
            loop {
                tried += 1;
                let met = visit(&site.host, &site.path, address).await;
                // A simulated world has no names in public DNS.
                let leads = match &met {
                    Met::Mute(_) if site.waits_for_dns && simulated => Some(vec![]),
                    Met::Mute(_) if site.waits_for_dns => Some(leads_to(&site.host).await),
                    Met::Mute(_) | Met::Closed(_) | Met::Status(_) => None,
                };
                let verdict = judge(&site, address, &met, leads.as_deref());
                let is_last = tried >= tries || matches!(met, Met::Closed(_)) && tried >= 3 || report.stopping();
                if is_last || !matches!(verdict, Verdict::Bad(_)) {
                    return (site, verdict);
                }
                report.tell(Progress::Waiting(format!("https://{}{} to answer", site.host, site.path)));
                sleep(GAP).await;
            }
        });
    }
    let mut bad = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let (site, verdict) = asked.map_err(|e| Failure::new(Kind::Failed, "asking the sites broke off").because(e))?;
        let url = format!("https://{}{}", site.host, site.path);
        match verdict {
            Verdict::Good(saw) => teller.tell(What::Probe { what: format!("site {url}"), passed: true, saw })?,
            Verdict::Pending(saw) => teller.tell(What::Note { text: format!("{} {saw}", site.host) })?,
            Verdict::Bad(saw) => {
                bad.push(format!("{url} {saw}"));
                teller.tell(What::Probe { what: format!("site {url}"), passed: false, saw })?;
            }
        }
    }
    bad.sort();
    if bad.is_empty() {
        return Ok(());
    }
    if teller.report(false).stopping() {
        return Err(Failure::new(Kind::Stopped, "stopped as you asked, while the sites were asked"));
    }
    let kind = if goal == Goal::Check { Kind::Drift } else { Kind::Failed };
    Err(Failure::new(kind, bad.join("; "))
        .hint("the servers match the playbook; check DNS, firewalls and the app's logs, then run `landfall check`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAYBOOK: &str = r#"schema = 1
name = "acme"
[[step]]
use = "server"
id = "web"
provider = "existing"
address = "192.0.2.7"
host_key = "SHA256:1111111111111111111111111111111111111111111"
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFe3mLnDGSCzKtPjYyAW5SzFXGcJnCbVjtOzZTYyPTVn me"]
[[step]]
use = "app"
id = "shop"
on = "web"
image = "shop:1"
port = 3000
host = "shop.acme.dev"
health = "/up"
[[step]]
use = "app"
id = "hidden"
on = "web"
image = "hidden:1"
port = 3001
[[step]]
use = "proxy"
on = "web"
"#;

    fn site() -> Site {
        site_with("")
    }

    fn site_with(more: &str) -> Site {
        let Ok(playbook) = Playbook::parse(&format!("{PLAYBOOK}{more}")) else { unreachable!("it is right") };
        let mut sites = sites(&playbook);
        assert_eq!(sites.len(), 1, "an app without a name has no site");
        sites.remove(0)
    }

    #[test]
    fn a_site_that_its_firewall_keeps_from_us_is_not_asked() {
        let firewall = |answers: &str| site_with(&format!("[[step]]\nuse = \"firewall\"\non = \"web\"\n{answers}\n"));
        assert!(site().not_asked.is_none() && firewall("").not_asked.is_none());
        assert!(firewall("open = [\"ssh\", \"tcp/443\"]").not_asked.is_none());
        assert!(firewall("open = [\"ssh\"]").not_asked.is_some_and(|why| why.contains("HTTPS")));
        assert!(firewall("web_from = \"cloudflare\"").not_asked.is_some_and(|why| why.contains("Cloudflare")));
    }

    #[test]
    fn what_a_visitor_meets_is_judged_by_what_it_means() {
        let site = site();
        assert_eq!((site.host.as_str(), site.path.as_str(), site.waits_for_dns), ("shop.acme.dev", "/up", true));
        let address: IpAddr = "192.0.2.7".parse().unwrap_or_else(|_| unreachable!());
        let other: IpAddr = "192.0.2.8".parse().unwrap_or_else(|_| unreachable!());
        let is = |met: Met, leads: Option<&[IpAddr]>| judge(&site, address, &met, leads);
        for status in [200, 204, 301, 302, 401, 403, 404] {
            assert!(matches!(is(Met::Status(status), None), Verdict::Good(_)), "{status}");
        }
        let plain = Site { has_health: false, ..site.clone() };
        for status in [500, 502, 503, 504] {
            assert!(matches!(is(Met::Status(status), None), Verdict::Bad(_)), "{status}");
            let bad = matches!(judge(&plain, address, &Met::Status(status), None), Verdict::Bad(_));
            assert_eq!(bad, [502, 504].contains(&status), "{status} without `health`");
        }
        assert!(matches!(is(Met::Closed("refused".into()), None), Verdict::Bad(_)));
        let mute = || Met::Mute("internal error".into());
        assert!(matches!(is(mute(), None), Verdict::Bad(_)));
        assert!(
            matches!(is(mute(), Some(&[address])), Verdict::Bad(_)),
            "DNS leads here, and still there is no certificate"
        );
        assert!(matches!(is(mute(), Some(&[])), Verdict::Pending(_)));
        assert!(matches!(is(mute(), Some(&[other])), Verdict::Pending(_)));
    }
}
