//! Secrets in requests: filled in on the way out, and looked for in what comes back.
//!
//! Placeholders are filled in where the request goes to a host that the secret is bound to: in header values, in the query
//! and in the body. The placeholder itself is what a redirect is made from: the next host is asked about anew, and a header
//! whose placeholder means nothing there is left out.
//!
//! From the first placeholder of a secret with the mode `inject` on, all responses to its provider are searched for its value,
//! and stars are written over it: in header values, in the URL that answered, in the body. So that it can be found, such
//! requests ask for no compression (`Accept-Encoding: identity`), and a response that is compressed all the same is an error.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::{Body, Incoming};
use provider::{ByteStream, Code};
use url::Url;

use super::policy::{Endpoint, MAX_HEADERS, authority, shown};
use crate::bindings::vk::host::http::Head;
use crate::error::{Error, error, from_provider};
use crate::secrets::{Destination, Filling, Placeholders, Search, Secrets, masked};

/// The secrets of one request.
pub(super) struct Injection {
    placeholders: Arc<Placeholders>,
    secrets: Arc<Secrets>,
}

impl Injection {
    pub(super) const fn new(placeholders: Arc<Placeholders>, secrets: Arc<Secrets>) -> Self {
        Self { placeholders, secrets }
    }

    /// What is to be filled in on the way there.
    pub(super) fn towards(&self, url: &Url, endpoint: &Endpoint) -> Arc<Filling> {
        let authority = authority(url);
        let (host, port) = authority.as_ref().map_or(("", 0), |(host, port)| (host.as_str(), *port));
        self.placeholders.towards(match endpoint {
            Endpoint::Url => Destination::Url { scheme: url.scheme(), host, port, path: url.path() },
            Endpoint::Tcp(host, port) => Destination::Tcp { host, port: *port },
            Endpoint::Unix(path) => Destination::Unix { path },
        })
    }

    /// The headers as they are sent.
    pub(super) fn headers(&self, own: &HeaderMap, filling: &Filling) -> Result<HeaderMap, Error> {
        let mut headers = own.clone();
        if !filling.is_empty() {
            let mut size = 0;
            for (name, value) in headers.iter_mut() {
                if let Some(filled) = filling.fill(value.as_bytes()).map_err(from_provider)? {
                    *value = HeaderValue::from_maybe_shared(bytes::Bytes::from(filled)).map_err(|_| {
                        let message =
                            format!("http: the secret in the header `{name}` has characters that no header holds");
                        error(Code::Invalid, message)
                    })?;
                    // Libraries don't print it, and don't keep it in tables of compression.
                    value.set_sensitive(true);
                }
                size += name.as_str().len() + value.len();
            }
            if size > MAX_HEADERS {
                let message = format!("http: {size} bytes of headers with their secrets, the limit is {MAX_HEADERS}");
                return Err(error(Code::Limit, message));
            }
        }
        if self.secrets.search().is_some() {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        Ok(headers)
    }

    /// Path and query as they are sent.
    pub(super) fn target<'a>(&self, own: &'a str, filling: &Filling) -> Result<Cow<'a, str>, Error> {
        let Some((path, query)) = own.split_once('?').filter(|_| !filling.is_empty()) else {
            return Ok(Cow::Borrowed(own));
        };
        let Some(filled) = filling.fill(query.as_bytes()).map_err(from_provider)? else {
            return Ok(Cow::Borrowed(own));
        };
        // What a query holds (RFC 3986, section 3.4), but for the separator.
        let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(b);
        match String::from_utf8(filled) {
            Ok(query) if query.bytes().all(|b| fits(&b)) => Ok(Cow::Owned(format!("{path}?{query}"))),
            _ => {
                let message =
                    "http: the secret in the query has characters that no query holds; its encoding is `form`";
                Err(error(Code::Invalid, message))
            }
        }
    }

    /// Whether a redirect may be followed. A server that puts a secret into a URL of another must not make us bring it there.
    pub(super) fn follow(&self, from: &Url, to: &Url, endpoint: &Endpoint, own: &mut HeaderMap) -> Result<(), Error> {
        if from.origin() == to.origin() {
            return Ok(());
        }
        if self.secrets.search().is_some_and(|search| search.finds(to.as_str().as_bytes())) {
            let message = format!("http: the redirect of {} takes a secret elsewhere", shown(from));
            return Err(error(Code::Denied, message));
        }
        let filling = self.towards(to, endpoint);
        let stays = |value: &HeaderValue| {
            !self.placeholders.stand_in(value.as_bytes())
                || filling.fill(value.as_bytes()).is_ok_and(|filled| filled.is_some())
        };
        let mut kept = HeaderMap::with_capacity(own.len());
        for (name, value) in own.iter().filter(|(_, value)| stays(value)) {
            kept.append(name, value.clone());
        }
        *own = kept;
        Ok(())
    }

    /// The head as the guest may see it, and what its body is to be searched for.
    pub(super) fn seen(
        &self,
        mut head: Head,
        response: &Response<Incoming>,
    ) -> Result<(Head, Option<Arc<Search>>), Error> {
        let Some(search) = self.secrets.search() else { return Ok((head, None)) };
        let encoded = response.headers().get(CONTENT_ENCODING).is_some_and(|own| own != "identity");
        if encoded && !response.body().is_end_stream() {
            let message = "http: the response is compressed, though no compression was asked for: it can't be searched for \
                           the secrets that were sent";
            return Err(error(Code::Unsupported, message));
        }
        head.url = search.mask_text(head.url);
        for (_, value) in &mut head.headers {
            *value = search.mask_text(std::mem::take(value));
        }
        Ok((head, Some(search)))
    }

    /// An error as the guest may see it.
    pub(super) fn error(&self, mut error: Error) -> Error {
        error.message = self.secrets.mask(error.message);
        error
    }
}

/// The body as the guest may see it.
pub(super) fn searched(search: Option<Arc<Search>>, content: ByteStream) -> ByteStream {
    match search {
        Some(search) => masked(search, content),
        None => content,
    }
}
