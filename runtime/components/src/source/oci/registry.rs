//! One repository of a registry, as the distribution specification has it
//! (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md>). Every digest is checked.

use std::sync::Mutex;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use hyper::body::Incoming;
use std::sync::PoisonError;

use super::auth::{Challenge, answer, who};
use super::credentials::is_docker_hub;
use super::manifest::{DOCKER, Descriptor, INDEX, Index, MANIFEST, Manifest};
use super::transport::{Asked, Registries, host, refused, resolve};
use crate::digest::Digest;
use crate::source::{OciAddress, Problem};

/// Bytes of a manifest: what the specification says that registries should take.
const MANIFEST_SIZE: u64 = 4 << 20;
/// Bytes of an upload's answers, which aren't looked at.
const ANSWER: u64 = 1 << 20;
const DIGEST: &str = "docker-content-digest";

/// A repository.
pub struct Registry {
    registries: Registries,
    address: OciAddress,
    base: String,
    /// What answered the last challenge, for reading and for writing.
    authorization: Mutex<[Option<HeaderValue>; 2]>,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Reading,
    Writing,
}

impl Registry {
    pub fn new(address: &OciAddress, registries: &Registries) -> Self {
        let is_plain = registries.plain_http.contains(&address.registry);
        // Docker Hub's registry has another name than it goes by, and its own images a folder that nobody writes.
        let (host, repository) = if is_docker_hub(&address.registry) {
            let folder = if address.repository.contains('/') { "" } else { "library/" };
            ("registry-1.docker.io", format!("{folder}{}", address.repository))
        } else {
            (address.registry.as_str(), address.repository.clone())
        };
        let base = format!("{}://{host}/v2/{repository}", if is_plain { "http" } else { "https" });
        Self {
            registries: registries.clone(),
            address: OciAddress { repository, ..address.clone() },
            base,
            authorization: Mutex::default(),
        }
    }

    /// The digest that the address stands for now. None: the registry doesn't say.
    pub async fn tag_digest(&self) -> Result<Option<String>, Problem> {
        let uri = self.uri(&format!("manifests/{}", self.address.reference()))?;
        let response = self.ask(Method::HEAD, &uri, manifests(), Bytes::new(), "the manifest", For::Reading).await?;
        match response.status() {
            StatusCode::OK => {
                Ok(response.headers().get(DIGEST).and_then(|digest| digest.to_str().ok()).map(str::to_owned))
            }
            StatusCode::NOT_FOUND => Err(Problem::NotFound("artifact")),
            status => Err(refused(&uri, status, "the manifest")),
        }
    }

    /// The manifest that the address stands for, and its digest.
    pub async fn manifest(&self) -> Result<(Bytes, Digest), Problem> {
        let found = self.get_manifest(&self.address.reference()).await?.ok_or(Problem::NotFound("artifact"))?;
        if let Some(expected) = self.address.digest.filter(|expected| *expected != found.1) {
            return Err(wrong_digest("the manifest", expected, found.1));
        }
        Ok(found)
    }

    /// The manifest that an index names.
    pub async fn manifest_of(&self, descriptor: &Descriptor) -> Result<Bytes, Problem> {
        let expected = descriptor.sha256()?;
        let (body, digest) =
            self.get_manifest(&descriptor.digest).await?.ok_or(Problem::NotFound("manifest in the index"))?;
        if digest != expected {
            return Err(wrong_digest("the manifest", expected, digest));
        }
        Ok(body)
    }

    /// The manifest with a tag. None: there is none.
    pub async fn tagged(&self, tag: &str) -> Result<Option<Manifest>, Problem> {
        self.get_manifest(tag).await?.map(|(body, _)| Manifest::parse(&body)).transpose()
    }

    /// What refers to a manifest and is of this type: told by the registry, or by the tag that stands in for that.
    pub async fn referrers(&self, subject: &Digest, artifact_type: &str) -> Result<Vec<Descriptor>, Problem> {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("artifactType", artifact_type).finish();
        let uri = self.uri(&format!("referrers/{subject}?{query}"))?;
        let response =
            self.ask(Method::GET, &uri, accept(&[INDEX]), Bytes::new(), "the referrers", For::Reading).await?;
        let body = match response.status() {
            StatusCode::OK => Some(self.registries.read(response, "the referrers", MANIFEST_SIZE, None).await?),
            // A registry that knows no referrers.
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => {
                let tag = format!("sha256-{}", subject.hex());
                self.get_manifest(&tag).await?.map(|(body, _)| body)
            }
            status => return Err(refused(&uri, status, "the referrers")),
        };
        let index = body.map(|body| Index::parse(&body)).transpose()?.flatten();
        let all = index.map(|index| index.manifests).unwrap_or_default();
        // Neither has to have been filtered; some don't say the type there but in the manifest alone.
        let is_one = |own: &Descriptor| own.artifact_type.as_deref().is_none_or(|own| own == artifact_type);
        Ok(all.into_iter().filter(is_one).collect())
    }

    /// A blob. Its size was checked before.
    pub async fn blob(&self, descriptor: &Descriptor, what: &'static str) -> Result<Bytes, Problem> {
        let expected = descriptor.sha256()?;
        let uri = self.uri(&format!("blobs/{}", descriptor.digest))?;
        let response = self.ask(Method::GET, &uri, HeaderMap::new(), Bytes::new(), what, For::Reading).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(Problem::NotFound("layer")),
            status => return Err(refused(&uri, status, what)),
        }
        let size = descriptor.size;
        let bytes = self.registries.read(response, what, size, Some(size)).await.map_err(|problem| match problem {
            Problem::TooLarge { .. } => {
                Problem::Protocol(format!("{what} has more than the {size} bytes that the manifest says"))
            }
            other => other,
        })?;
        let hash = bytes.clone();
        let hashed = tokio::task::spawn_blocking(move || Digest::of(&hash)).await;
        let actual = hashed.map_err(|error| Problem::Read(error.into()))?;
        if actual != expected {
            return Err(wrong_digest(what, expected, actual));
        }
        Ok(bytes)
    }

    /// Writes a blob, unless it is there.
    pub async fn put_blob(&self, bytes: &Bytes, digest: &Digest) -> Result<(), Problem> {
        let what = "the upload";
        let uri = self.uri(&format!("blobs/{digest}"))?;
        let there = self.ask(Method::HEAD, &uri, HeaderMap::new(), Bytes::new(), what, For::Writing).await?;
        if there.status() == StatusCode::OK {
            return Ok(());
        }
        let uri = self.uri("blobs/uploads/")?;
        let begun = self.ask(Method::POST, &uri, HeaderMap::new(), Bytes::new(), what, For::Writing).await?;
        let location = match (begun.status(), begun.headers().get(LOCATION)) {
            (StatusCode::ACCEPTED, Some(location)) => resolve(&uri, location)?,
            (status, _) => return Err(refused(&uri, status, what)),
        };
        self.registries.read(begun, what, ANSWER, None).await?;
        let separator = if location.query().is_some() { '&' } else { '?' };
        let uri = format!("{location}{separator}digest={digest}");
        let uri: Uri =
            uri.parse().map_err(|_| Problem::Protocol("its place for the upload can't be read".to_owned()))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let done = self.ask(Method::PUT, &uri, headers, bytes.clone(), what, For::Writing).await?;
        if done.status() != StatusCode::CREATED {
            return Err(refused(&uri, done.status(), what));
        }
        Ok(())
    }

    /// Writes the manifest that the address stands for.
    pub async fn put_manifest(&self, body: Bytes) -> Result<(), Problem> {
        let what = "the manifest's upload";
        let uri = self.uri(&format!("manifests/{}", self.address.reference()))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        let done = self.ask(Method::PUT, &uri, headers, body, what, For::Writing).await?;
        if done.status() != StatusCode::CREATED {
            return Err(refused(&uri, done.status(), what));
        }
        Ok(())
    }

    async fn get_manifest(&self, reference: &str) -> Result<Option<(Bytes, Digest)>, Problem> {
        let what = "the manifest";
        let uri = self.uri(&format!("manifests/{reference}"))?;
        let response = self.ask(Method::GET, &uri, manifests(), Bytes::new(), what, For::Reading).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(refused(&uri, status, what)),
        }
        let body = self.registries.read(response, what, MANIFEST_SIZE, None).await?;
        let digest = Digest::of(&body);
        Ok(Some((body, digest)))
    }

    fn uri(&self, rest: &str) -> Result<Uri, Problem> {
        let wrong = |_| Problem::Protocol(format!("`{}/{rest}` is no address", self.base));
        format!("{}/{rest}", self.base).parse().map_err(wrong)
    }

    /// Asks, and once more with what the registry wants for it.
    async fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
        what: &'static str,
        purpose: For,
    ) -> Result<Response<Incoming>, Problem> {
        // An upload may go elsewhere; what authorizes it is in that address.
        let is_ours = uri.authority().map(http::uri::Authority::as_str)
            == self.uri("")?.authority().map(http::uri::Authority::as_str);
        let known = self.known(purpose).filter(|_| is_ours);
        let send = async |authorization: Option<HeaderValue>| {
            let mut headers = headers.clone();
            if let Some(authorization) = authorization {
                headers.insert(AUTHORIZATION, authorization);
            }
            self.registries.send(Asked { method: method.clone(), uri, headers, body: body.clone(), what }).await
        };
        let first = send(known).await?;
        if first.status() != StatusCode::UNAUTHORIZED || !is_ours {
            return Ok(first);
        }
        let login = self.registries.credentials.of(&self.address.registry, &self.address.repository).await?;
        let Some(challenge) = Challenge::read(first.headers()) else {
            return Err(Problem::Refused(format!(
                "{} refuses {} and doesn't say what it wants",
                host(uri),
                who(login.as_ref())
            )));
        };
        let actions = if purpose == For::Writing { "pull,push" } else { "pull" };
        let scope = format!("repository:{}:{actions}", self.address.repository);
        let authorization = answer(&self.registries, &challenge, login.as_ref(), &scope).await?;
        let second = send(Some(authorization.clone())).await?;
        if matches!(second.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Problem::Refused(format!("{} refuses {}", host(uri), who(login.as_ref()))));
        }
        let mut all = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        let [reading, writing] = &mut *all;
        *if purpose == For::Writing { writing } else { reading } = Some(authorization);
        Ok(second)
    }

    fn known(&self, purpose: For) -> Option<HeaderValue> {
        let all = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        let [reading, writing] = &*all;
        if purpose == For::Writing { writing.clone() } else { reading.clone() }
    }
}

fn manifests() -> HeaderMap {
    accept(&[&[MANIFEST, INDEX], DOCKER].concat())
}

fn accept(types: &[&str]) -> HeaderMap {
    types.iter().filter_map(|name| Some((ACCEPT, HeaderValue::from_str(name).ok()?))).collect()
}

fn wrong_digest(what: &'static str, expected: Digest, actual: Digest) -> Problem {
    Problem::WrongDigest { what, expected: expected.to_string(), actual: actual.to_string() }
}
