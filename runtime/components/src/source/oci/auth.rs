//! What a registry asks for before it answers: Basic, or a token from its token server
//! (<https://distribution.github.io/distribution/spec/auth/token/>). Tokens are asked for again when they are refused, and
//! stand in no error.

use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;

use super::credentials::Login;
use super::transport::{Asked, Registries, host};
use crate::source::Problem;

/// Bytes of a token server's answer.
const ANSWER: u64 = 1 << 20;

/// What stands in `WWW-Authenticate`.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The first one that is known.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        challenges.filter_map(Self::parse).next()
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters(rest) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// `NAME="VALUE"` or `NAME=VALUE`, separated by commas.
fn parameters(text: &str) -> Vec<(&str, String)> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut characters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, character)) = characters.next() {
                    match character {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                        other => value.push(other),
                    }
                }
                (value, quoted.get(end..).unwrap_or_default())
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after.get(..end).unwrap_or_default().trim().to_owned(), after.get(end..).unwrap_or_default())
            }
        };
        all.push((name.trim(), value));
        rest = next.trim_start_matches([',', ' ']);
    }
    all
}

/// The header that answers a challenge.
pub async fn answer(
    registries: &Registries,
    challenge: &Challenge,
    login: Option<&Login>,
    scope: &str,
) -> Result<HeaderValue, Problem> {
    match challenge {
        Challenge::Basic => match login {
            Some(Login::Password { user, password }) => basic(user, password),
            Some(Login::Token(_)) => {
                Err(Problem::Refused("it wants a user and a password, and there is a token".to_owned()))
            }
            None => Err(Problem::Refused("it wants credentials, and there are none for it".to_owned())),
        },
        Challenge::Bearer { realm, service, scope: asked } => {
            let scope = asked.as_deref().unwrap_or(scope);
            token(registries, realm, service.as_deref(), scope, login).await
        }
    }
}

async fn token(
    registries: &Registries,
    realm: &str,
    service: Option<&str>,
    scope: &str,
    login: Option<&Login>,
) -> Result<HeaderValue, Problem> {
    let wrong = || Problem::Protocol("its token server's address can't be read".to_owned());
    let mut pairs: Vec<_> = service.map(|service| ("service", service)).into_iter().collect();
    pairs.push(("scope", scope));
    let mut headers = HeaderMap::new();
    let (method, address, body) = match login {
        // OAuth 2: <https://distribution.github.io/distribution/spec/auth/oauth/>.
        Some(Login::Token(token)) => {
            pairs.extend([("grant_type", "refresh_token"), ("client_id", "vk-runtime"), ("refresh_token", token)]);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            (Method::POST, realm.to_owned(), form(&pairs))
        }
        other => {
            if let Some(Login::Password { user, password }) = other {
                headers.insert(AUTHORIZATION, basic(user, password)?);
            }
            let separator = if realm.contains('?') { '&' } else { '?' };
            (Method::GET, format!("{realm}{separator}{}", form(&pairs)), String::new())
        }
    };
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    registries.check(&uri)?;
    let asked = Asked { method, uri: &uri, headers, body: body.into(), what: "a token" };
    let response = registries.send(asked).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(Problem::Refused(format!("its token server {} refuses {}", host(&uri), who(login))));
        }
        status => return Err(super::transport::refused(&uri, status, "a token")),
    }
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let body = registries.read(response, "a token", ANSWER, None).await?;
    let unreadable = || Problem::Protocol(format!("its token server {} answers with no token", host(&uri)));
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| unreadable())?;
    let token = answer.token.or(answer.access_token).ok_or_else(unreadable)?;
    secret(&format!("Bearer {token}")).ok_or_else(unreadable)
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Whose credentials they are.
pub fn who(login: Option<&Login>) -> String {
    match login {
        Some(Login::Password { user, .. }) => format!("the credentials of {user}"),
        Some(Login::Token(_)) => "the token".to_owned(),
        None => "a request without credentials".to_owned(),
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, Problem> {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    secret(&format!("Basic {encoded}")).ok_or_else(|| Problem::Credentials("they are no header".to_owned()))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let parse = |text: &str| Challenge::parse(text);
        assert_eq!(parse("Basic realm=\"Registry\""), Some(Challenge::Basic));
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
                scope: Some("repository:a/b:pull,push".into())
            })
        );
        assert_eq!(
            parse(r#"bearer service=a\b, realm="https://x/\"q\"""#),
            Some(Challenge::Bearer { realm: "https://x/\"q\"".into(), service: Some("a\\b".into()), scope: None })
        );
        for strange in ["", "Bearer", "Bearer realm", "Bearer service=\"a\"", "Negotiate x", "Bearer realm=\"open"] {
            let _ = parse(strange);
        }
        assert_eq!(parse("Bearer service=\"a\""), None);
    }
}
