//! A look at a site as its visitors see it: from here, at the server's address, with the site's name.

#![expect(clippy::disallowed_types, reason = "a visitor has no token, and what it met is an answer, not a failure")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::redirect::Policy;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long a connection may take, and then an answer.
const CONNECTION: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(15);

/// What a visitor met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    /// An answer with this HTTP status.
    Status(u16),
    /// Nobody listens, or something in between lets nobody through; in words.
    Closed(String),
    /// Somebody listens, but does not speak HTTPS for this name; in words.
    Mute(String),
}

/// Asks for `https://{host}{path}` at `address`, whatever DNS says of the name. Whether browsers trust the certificate is not
/// asked: a site's own authority, or the one of a proxy in front of it, is right for some. Redirects are not followed.
pub async fn visit(host: &str, path: &str, address: IpAddr) -> Met {
    let socket = SocketAddr::new(address, 443);
    match timeout(CONNECTION, TcpStream::connect(socket)).await {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => return Met::Closed(e.to_string()),
        Err(_) => return Met::Closed("no answer in time".into()),
    }
    let client = reqwest::Client::builder()
        .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .resolve(host, socket)
        .tls_danger_accept_invalid_certs(true)
        .connect_timeout(CONNECTION)
        .timeout(ANSWER)
        .build();
    let asked = match client {
        Ok(client) => client.get(format!("https://{host}{path}")).send().await,
        Err(e) => Err(e),
    };
    match asked {
        Ok(answer) => Met::Status(answer.status().as_u16()),
        Err(e) => Met::Mute(innermost(&e)),
    }
}

/// Where DNS leads a visitor of `host`; nowhere where it says nothing in time.
pub async fn leads_to(host: &str) -> Vec<IpAddr> {
    match timeout(CONNECTION, lookup_host((host, 443))).await {
        Ok(Ok(found)) => found.map(|socket| socket.ip()).collect(),
        Ok(Err(_)) | Err(_) => vec![],
    }
}

/// The last of an error's causes, which says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
