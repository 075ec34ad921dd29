//! What S3's operations do with folders and files: as much of them as backup programs use.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use s3s::dto::{
    CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, ETag, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob,
    Timestamp,
};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};

use crate::model::machine::digest;

/// The folder whose folders are the buckets.
pub(super) struct Objects {
    folder: PathBuf,
    uploads: AtomicU64,
}

impl Objects {
    pub(super) fn new(folder: &Path) -> Objects {
        Objects { folder: folder.to_owned(), uploads: AtomicU64::new(0) }
    }

    fn bucket(&self, name: &str) -> S3Result<PathBuf> {
        let path = self.folder.join(name);
        let legal = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if legal && path.is_dir() { Ok(path) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn object(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        // Keys are paths here; one that leads out of its bucket is none.
        match key.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            true => Err(s3_error!(InvalidArgument, "not a key this storage takes")),
            false => Ok(self.bucket(bucket)?.join(key)),
        }
    }

    fn read(&self, bucket: &str, key: &str) -> S3Result<(Vec<u8>, Timestamp)> {
        let path = self.object(bucket, key)?;
        let missing = |_gone: std::io::Error| s3_error!(NoSuchKey);
        let changed = std::fs::metadata(&path).and_then(|data| data.modified()).map_err(missing)?;
        Ok((std::fs::read(&path).map_err(missing)?, changed.into()))
    }
}

/// Every file below `folder`, as a key with its size and time.
fn files(folder: &Path) -> Vec<(String, u64, Timestamp)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let (path, Ok(data)) = (entry.path(), entry.metadata()) else { continue };
            if data.is_dir() {
                open.push(path);
            } else if let (Ok(key), Ok(changed)) = (path.strip_prefix(folder), data.modified()) {
                found.push((key.to_string_lossy().into_owned(), data.len(), changed.into()));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn tag(bytes: &[u8]) -> ETag {
    format!("\"{}\"", &digest(bytes)[..32])
}

fn length(size: u64) -> Option<i64> {
    i64::try_from(size).ok()
}

#[async_trait::async_trait]
impl S3 for Objects {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let path = self.folder.join(&request.input.bucket);
        match std::fs::create_dir(path) {
            Ok(()) => Ok(S3Response::new(CreateBucketOutput::default())),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(s3_error!(BucketAlreadyOwnedByYou)),
            Err(_) => Err(s3_error!(InvalidBucketName)),
        }
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.bucket(&request.input.bucket).map(|_| S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.bucket(&request.input.bucket).map(|_| S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let path = self.object(&input.bucket, &input.key)?;
        let mut body = Body::from(input.body.ok_or_else(|| s3_error!(IncompleteBody))?);
        let bytes = body.store_all_unlimited().await.map_err(|_broken| s3_error!(IncompleteBody))?;
        if input.content_length.is_some_and(|said| length(bytes.len() as u64) != Some(said)) {
            return Err(s3_error!(IncompleteBody));
        }
        let failed = |e: std::io::Error| s3_error!(InternalError, "{e}");
        let upload = self.folder.join(format!(".upload-{}", self.uploads.fetch_add(1, Ordering::Relaxed)));
        // Whole or not at all, as the real thing does it.
        std::fs::create_dir_all(path.parent().unwrap_or(&self.folder)).map_err(failed)?;
        std::fs::write(&upload, &bytes).map_err(failed)?;
        std::fs::rename(&upload, &path).map_err(failed)?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(tag(&bytes)), ..Default::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let (bytes, last_modified) = self.read(&input.bucket, &input.key)?;
        let whole = bytes.len() as u64;
        let mut output = GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(tag(&bytes)),
            last_modified: Some(last_modified),
            ..Default::default()
        };
        let part = match &input.range {
            None => bytes,
            Some(range) => {
                let range = range.check(whole)?;
                output.content_range = Some(format!("bytes {}-{}/{whole}", range.start, range.end.saturating_sub(1)));
                let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
                bytes.get(at(range.start)..at(range.end)).unwrap_or_default().to_vec()
            }
        };
        output.content_length = length(part.len() as u64);
        output.body = Some(StreamingBlob::from(Body::from(part)));
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let (bytes, last_modified) = self.read(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: length(bytes.len() as u64),
            e_tag: Some(tag(&bytes)),
            last_modified: Some(last_modified),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let folder = self.bucket(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or(input.start_after.clone()).unwrap_or_default();
        let most = usize::try_from(input.max_keys.unwrap_or(1000).clamp(1, 1000)).unwrap_or(1000);
        let delimiter = input.delimiter.clone().unwrap_or_default();
        let mut keys: Vec<(String, u64, Timestamp)> =
            files(&folder).into_iter().filter(|(key, ..)| key.starts_with(&prefix) && *key > after).collect();
        let mut shared: Vec<String> = Vec::new();
        if !delimiter.is_empty() {
            keys.retain(|(key, ..)| match key[prefix.len()..].find(&delimiter) {
                Some(at) => {
                    let common = key[..prefix.len() + at + delimiter.len()].to_owned();
                    if shared.last() != Some(&common) {
                        shared.push(common);
                    }
                    false
                }
                None => true,
            });
        }
        let more = keys.len() > most;
        keys.truncate(most);
        let next = keys.last().filter(|_| more).map(|(key, ..)| key.clone());
        let object = |(key, size, changed): (String, u64, Timestamp)| Object {
            key: Some(key),
            size: length(size),
            last_modified: Some(changed),
            ..Default::default()
        };
        let contents: Vec<Object> = keys.into_iter().map(object).collect();
        let common = |prefix| s3s::dto::CommonPrefix { prefix: Some(prefix) };
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(contents.len()).ok(),
            max_keys: i32::try_from(most).ok(),
            contents: Some(contents),
            common_prefixes: Some(shared.into_iter().map(common).collect()),
            is_truncated: Some(more),
            next_continuation_token: next,
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            name: Some(input.bucket),
            prefix: input.prefix,
            ..Default::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let path = self.object(&request.input.bucket, &request.input.key)?;
        // Deleting what is not there is fine, there as here.
        let _ = std::fs::remove_file(path);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }
}
