//! Secrets of the machine that the host runs on: its environment, its files.
//!
//! A file is looked at for each opening, and read when its time, size or inode changed. At most 1 MiB.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use serde_json::Value;
use zeroize::Zeroizing;

use super::source::{MAX_VALUE, SecretSource, SourceError, trim_end};

/// A variable of the host's environment.
pub(super) struct Environment {
    variable: String,
}

impl Environment {
    pub(super) const fn new(variable: String) -> Self {
        Self { variable }
    }
}

#[async_trait]
impl SecretSource for Environment {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        match std::env::var_os(&self.variable) {
            Some(value) => Ok(Zeroizing::new(value.into_encoded_bytes())),
            None => Err(SourceError::Missing(format!("the environment variable {} is not set", self.variable))),
        }
    }
}

/// A file; newlines at its end are not part of the value.
pub(super) struct File {
    path: String,
    seen: Mutex<Option<(SystemTime, u64, u64)>>,
}

impl File {
    pub(super) const fn new(path: String) -> Self {
        Self { path, seen: Mutex::new(None) }
    }
}

#[async_trait]
impl SecretSource for File {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        use std::os::unix::fs::MetadataExt;
        let fail = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Missing(format!("the file {} does not exist", self.path)),
            _ => SourceError::Unavailable(format!("the file {}: {error}", self.path)),
        };
        let metadata = tokio::fs::metadata(&self.path).await.map_err(fail)?;
        if metadata.len() > MAX_VALUE as u64 {
            let message = format!("the file {} has {} bytes, the limit is {MAX_VALUE}", self.path, metadata.len());
            return Err(SourceError::Unavailable(message));
        }
        let stamp = (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), metadata.ino());
        {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == Some(stamp) {
                return Err(SourceError::Unchanged);
            }
        }
        let mut bytes = Zeroizing::new(tokio::fs::read(&self.path).await.map_err(fail)?);
        trim_end(&mut bytes);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamp);
        Ok(bytes)
    }

    fn forget(&self) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        true
    }
}

/// One field of a JSON file.
pub(super) struct JsonField {
    file: File,
    pointer: String,
}

impl JsonField {
    pub(super) const fn new(path: String, pointer: String) -> Self {
        Self { file: File::new(path), pointer }
    }
}

#[async_trait]
impl SecretSource for JsonField {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let bytes = self.file.read().await?;
        let found = field(&bytes, &self.pointer, &self.file.path);
        if found.is_err() {
            // What is wrong now is wrong at the next reading too, and is said again.
            self.file.forget();
        }
        found
    }

    fn forget(&self) -> bool {
        self.file.forget()
    }
}

/// The field of a document; errors tell nothing of the document.
fn field(document: &[u8], pointer: &str, path: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
    let document: Value = serde_json::from_slice(document).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        SourceError::Unavailable(format!("the file {path} is no JSON: line {line}, column {column}"))
    })?;
    match document.pointer(pointer) {
        Some(Value::String(text)) => Ok(Zeroizing::new(text.clone().into_bytes())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Zeroizing::new(value.to_string().into_bytes())),
        Some(_) => Err(SourceError::Missing(format!("the field {pointer} of {path} is no string, number or boolean"))),
        None => Err(SourceError::Missing(format!("the file {path} has no field {pointer}"))),
    }
}
