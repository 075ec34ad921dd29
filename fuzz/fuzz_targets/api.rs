//! What an API answers: the first byte chooses the provider, the second the status; what follows are the bodies, one for each
//! request, with a zero byte between two. Every one is understood or ends in a failure with a word.
#![no_main]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use landfall::doors::Doors;
use landfall::doors::http::{Http, Pace};
use landfall::doors::ssh::{Patience, Ssh};
use landfall::model::event::Report;
use landfall::model::failure::Failure;
use landfall::model::name::Name;
use landfall::model::secret::{Keys, References, Secret};
use landfall::providers::PROVIDERS;
use libfuzzer_sys::fuzz_target;

/// The answers that are left: a status, and bodies.
static ANSWERS: Mutex<(u16, Vec<Vec<u8>>)> = Mutex::new((200, Vec::new()));

struct Token;

impl Keys for Token {
    fn get(&self, _: &Name) -> Option<Secret> {
        Some(Secret::new("token".to_owned()))
    }
    fn how_to_set(&self, _: &Name) -> String {
        String::new()
    }
    fn put(&self, _: &Name, _: Secret) -> Result<(), Failure> {
        Ok(())
    }
    fn remove(&self, _: &Name) -> Result<(), Failure> {
        Ok(())
    }
}

struct Nothing;

impl References for Nothing {
    fn get(&self, _: &Name) -> Option<String> {
        None
    }
    fn all(&self) -> Vec<(Name, String)> {
        Vec::new()
    }
    fn put(&self, _: &Name, _: Option<&str>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Serves what is left of the answers, one connection at a time, on the loopback address. Gives where.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 8192]);
            let (status, body) = {
                let mut answers = ANSWERS.lock().expect("the answers");
                let body = if answers.1.len() > 1 { answers.1.remove(0) } else { answers.1.first().cloned().unwrap_or_default() };
                (answers.0, body)
            };
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

fuzz_target!(|bytes: &[u8]| {
    static URL: OnceLock<String> = OnceLock::new();
    let [which, status, rest @ ..] = bytes else { return };
    let url = URL.get_or_init(serve);
    let clouds: Vec<_> = PROVIDERS.iter().filter(|provider| provider.api().is_some()).collect();
    let provider = clouds[usize::from(*which) % clouds.len()];
    let status = [200, 200, 200, 201, 400, 401, 404, 409, 422][usize::from(*status) % 9];
    *ANSWERS.lock().expect("the answers") = (status, rest.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect());
    let endpoints: BTreeMap<String, String> =
        clouds.iter().filter_map(|p| p.api()).map(|api| (api.name.to_owned(), url.clone())).collect();
    let keys: Arc<dyn Keys> = Arc::new(Token);
    let pace = Pace { first: Duration::ZERO, longest: Duration::ZERO, retries: 0, timeout: Duration::from_secs(2), ..Pace::default() };
    let doors = Doors {
        http: Http::new(endpoints, keys.clone(), pace),
        ssh: Ssh::new(keys.clone(), None, None, Patience { reach: Duration::ZERO, login: Duration::ZERO }),
        keys,
        references: Arc::new(Nothing),
    };
    let name = Name::parse("acme").expect("a name");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let report = Report::silent();
        // A list without an end is the API's fault, and nothing to wait for here.
        let looking = async {
            let _ = provider.take_stock(&doors, &name, &[], &report).await;
            let _ = provider.check(&doors, &report).await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), looking).await;
    });
});
