//! The grant of a secret: `NAME=SOURCE:MODE`.

use super::source::{Environment, File, SecretSource};

/// What the provider may do with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read it.
    Reveal,
    /// Sign with it, and derive further handles; the value stays in the host.
    Sign,
}

/// A granted secret as it is written: `NAME=SOURCE:MODE`, where `SOURCE` is `env:VARIABLE` or `file:/ABSOLUTE/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretGrant {
    /// By which the provider asks for it.
    pub name: String,
    /// `env` or `file`.
    pub scheme: String,
    /// The variable's name or the path.
    pub location: String,
    /// What the provider may do.
    pub mode: Mode,
}

/// A grant that can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{grant}`: {reason}")]
pub struct SecretGrantError {
    /// What was written.
    pub grant: String,
    /// What is wrong with it.
    pub reason: String,
}

impl std::str::FromStr for SecretGrant {
    type Err = SecretGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: &str| SecretGrantError { grant: text.to_owned(), reason: reason.to_owned() };
        let (name, rest) = text.split_once('=').ok_or_else(|| fail("written NAME=SOURCE:MODE"))?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(fail("the name is made of letters, digits, `-`, `_` and `.`"));
        }
        let (source, mode) = rest.rsplit_once(':').ok_or_else(|| fail("the mode is missing: `:reveal` or `:sign`"))?;
        let mode = match mode {
            "reveal" => Mode::Reveal,
            "sign" => Mode::Sign,
            other => return Err(fail(&format!("the mode `{other}` is none of reveal, sign"))),
        };
        let (scheme, location) = source
            .split_once(':')
            .filter(|(_, location)| !location.is_empty())
            .ok_or_else(|| fail("the source is written env:VARIABLE or file:/ABSOLUTE/PATH"))?;
        match scheme {
            "env" => {}
            "file" if location.starts_with('/') => {}
            "file" => return Err(fail("the file's path must be absolute")),
            other => return Err(fail(&format!("the source `{other}` is none of env, file"))),
        }
        Ok(Self { name: name.to_owned(), scheme: scheme.to_owned(), location: location.to_owned(), mode })
    }
}

impl SecretGrant {
    /// Where its value is read from.
    pub fn source(&self) -> Box<dyn SecretSource> {
        match self.scheme.as_str() {
            "file" => Box::new(File::new(self.location.clone())),
            _ => Box::new(Environment::new(self.location.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_has_name_source_and_mode() {
        let grant: SecretGrant = "access-key=env:HYPER_ACCESS_KEY:sign".parse().unwrap();
        assert_eq!(grant.name, "access-key");
        assert_eq!((grant.scheme.as_str(), grant.location.as_str()), ("env", "HYPER_ACCESS_KEY"));
        assert_eq!(grant.mode, Mode::Sign);
        let file: SecretGrant = "ca=file:/etc/a:b.pem:reveal".parse().unwrap();
        assert_eq!(file.location, "/etc/a:b.pem");
    }

    #[test]
    fn what_is_wrong_with_a_grant_is_said() {
        for (text, says) in [
            ("key", "NAME=SOURCE:MODE"),
            ("=env:A:sign", "the name"),
            ("key=env:A", "the mode `A` is none of"),
            ("key=sign", "the mode is missing"),
            ("key=env:A:show", "`show` is none of"),
            ("key=vault:A:sign", "`vault` is none of"),
            ("key=file:rel:sign", "must be absolute"),
            ("key=env::sign", "the source is written"),
        ] {
            let error = text.parse::<SecretGrant>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
