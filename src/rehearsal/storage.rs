//! Object storage that speaks real S3: buckets are folders, signatures are checked. Served on addresses of this machine
//! that local hosts reach.

mod objects;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

use crate::rehearsal::made_up;
use crate::rehearsal::storage::objects::Objects;

/// A storage that is being served. Ends, and is gone with all it holds, when dropped.
pub struct Storage {
    /// Where it is.
    pub url: String,
    /// The name of the key that opens it.
    pub access_key: String,
    /// The key itself.
    pub secret_key: String,
    folder: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl Storage {
    /// Serves an empty storage on a free port of `address`. The error says what does not work.
    pub async fn open(address: &str) -> Result<Storage, String> {
        let folder = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|e| e.to_string())?;
        let (access_key, secret_key) = (made_up::hex(20), made_up::token(40));
        let service = {
            let mut builder = S3ServiceBuilder::new(Objects::new(folder.path()));
            builder.set_auth(SimpleAuth::from_single(access_key.clone(), secret_key.clone()));
            builder.build().into_shared()
        };
        let at: SocketAddr = format!("{address}:0").parse().map_err(|e| format!("{address}: {e}"))?;
        let listener = TcpListener::bind(at).await.map_err(|e| format!("cannot listen on {address}: {e}"))?;
        let url = format!("http://{}", listener.local_addr().map_err(|e| e.to_string())?);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Ok(Storage { url, access_key, secret_key, folder, task })
    }

    /// The folder whose folders are the buckets.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.task.abort();
    }
}
