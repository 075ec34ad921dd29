//! What the wizard asks for a server: whose it is, how big and where, who may log in.

use crate::model::draft::Draft;
use crate::model::name::is_user_name;
use crate::model::question::{Choice, Field, Key, Lookup, Page, Question};

use crate::steps::firewall::Network;

const SERVER: &str = "server";

pub(super) fn pages(draft: &Draft) -> Vec<Page> {
    let provider = draft.get(SERVER, "provider").unwrap_or("hetzner").to_owned();
    let mut pages = vec![whose(&provider)];
    if provider != "existing" {
        pages.push(size_and_place(draft, provider));
    }
    pages.push(access(draft));
    pages
}

fn key(name: &'static str) -> Key {
    Key::Step(SERVER, name)
}

fn whose(provider: &str) -> Page {
    let mut questions = vec![
        Question::new(
            key("provider"),
            "provider",
            Field::Choice(vec![
                Choice::new("hetzner", "Hetzner Cloud: cheap, in Europe, the USA and Singapore"),
                Choice::new("digitalocean", "DigitalOcean: many places, simple prices"),
                Choice::new("existing", "a machine you already have"),
            ]),
            "Who rents you the server; or existing, for a machine you have. Everything else in the playbook stays the \
             same when you change this later. Prices are for 2 cores and 4 GB with an address, net of tax.",
        )
        .default("hetzner")
        .lookup(Lookup::Providers),
    ];
    let dropped: &[&'static str] = match provider {
        "existing" => {
            questions.push(Question::new(
                key("address"),
                "address",
                Field::Text(|text| match text.parse::<std::net::IpAddr>() {
                    Ok(_) => Ok(()),
                    Err(_) => Err("an IP address such as 203.0.113.7".to_owned()),
                }),
                "The machine's IP address.",
            ));
            questions.push(Question::new(
                key("host_key"),
                "host key",
                Field::Text(|text| match super::fingerprint(text) {
                    Some(_) => Ok(()),
                    None => Err("a fingerprint such as SHA256:…, or a line such as ssh-ed25519 AAAA…".to_owned()),
                }),
                "So that Landfall speaks with this machine and no other. On the machine: \
                 ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
            ));
            &["location", "size", "admin", "backups", "ipv4", "ipv6", "volume_gb"]
        }
        _ => &["address", "host_key", "port", "user"],
    };
    Page::new("provider", "provider", "Where your server comes from.", questions).dropping(SERVER, dropped)
}

fn size_and_place(draft: &Draft, provider: String) -> Page {
    let nearest = if provider == "hetzner" { "fsn1" } else { "fra1" };
    let place = draft.get(SERVER, "location").unwrap_or(nearest);
    let place = super::place(
        if provider == "hetzner" { super::ServerProvider::Hetzner } else { super::ServerProvider::Digitalocean },
        place,
    )
    .to_owned();
    let questions = vec![
        Question::new(
            key("location"),
            "place",
            Field::Text(|text| match text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
                true => Ok(()),
                false => Err("the provider's name of a place, such as fsn1".to_owned()),
            }),
            "Near your visitors is fast. Or an area that every provider has: europe, us-east, us-west, singapore.",
        )
        .default(nearest)
        .lookup(Lookup::Places(provider.clone())),
        Question::new(
            key("size"),
            "size",
            Field::Size,
            "2/4 is the cheapest plan that can be ordered with 2 cores and 4 GB of memory: plenty for a first product. \
             Or a plan's name from the list; type to filter it.",
        )
        .default("2/4")
        .lookup(Lookup::Plans(provider, place)),
        Question::new(
            key("backups"),
            "backups",
            Field::YesNo,
            "The provider keeps daily copies of the whole server, for a fifth of its price at Hetzner and \
             DigitalOcean.",
        )
        .default("yes"),
    ];
    Page::new("size", "size and place", "How big the server is, and where it stands.", questions)
}

fn access(draft: &Draft) -> Page {
    let keys = Question::new(
        key("keys"),
        "your key",
        Field::PublicKey(|text| match ssh_key::PublicKey::from_openssh(text) {
            Ok(_) => Ok(()),
            Err(_) => Err("a line such as ssh-ed25519 AAAA… me@laptop".to_owned()),
        }),
        "The public half of the key you log in with. Its other half never leaves your machine.",
    )
    .lookup(Lookup::PublicKeys);
    let mut questions = vec![keys];
    if draft.get(SERVER, "provider") != Some("existing") {
        questions.push(
            Question::new(
                key("admin"),
                "admin user",
                Field::Text(|text| match text {
                    "root" => Err("an account of its own: root's login stays shut".to_owned()),
                    _ if is_user_name(text) => Ok(()),
                    _ => Err("a lower-case letter, then lower-case letters, digits, hyphens, underscores".to_owned()),
                }),
                "The account you log in to. It may use sudo; root's own login is shut.",
            )
            .default("deploy"),
        );
    }
    let from = Question::new(
        Key::Step("firewall", "ssh_from"),
        "from where",
        Field::List(|text| Network::parse(text).map(|_| ())),
        "Your own address or network, if it never changes: 203.0.113.7, or several with commas between. Left empty, SSH \
         is open to the internet, for keys only; that is safe, and works from anywhere.",
    )
    .optional();
    questions.push(from);
    Page::new("access", "access", "Who may log in, and from where. Never with a password.", questions)
}
