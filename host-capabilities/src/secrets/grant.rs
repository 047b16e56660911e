//! The grant of a secret: `NAME=SOURCE:MODE`, and with the mode `inject` the hosts that it is bound to:
//! `NAME=SOURCE:inject,HOST[,HOST…]`.
//!
//! The mode is the last `:reveal`, `:sign` or `:inject` that a comma or the end follows: no host contains one, so a source may
//! contain whatever it likes. Sources: [`super::Origin`]. Hosts: [`super::Binding`].

use super::binding::Binding;
use super::origin::Origin;

/// What the provider may do with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything, reading it included.
    Reveal,
    /// Sign with it, and derive further handles; the value stays in the host.
    Sign,
    /// Have it filled into requests to the hosts that it is bound to; the value stays in the host.
    Inject,
}

impl Mode {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reveal => "reveal",
            Self::Sign => "sign",
            Self::Inject => "inject",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Reveal, Self::Sign, Self::Inject].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// A secret that was granted. No part of it is a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretGrant {
    /// By which the provider asks for it: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where its value comes from.
    pub origin: Origin,
    /// What the provider may do.
    pub mode: Mode,
    /// Where it may be filled in; with the mode `inject` at least one, else none.
    pub hosts: Vec<Binding>,
}

/// A grant that can't be read, or that grants nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{grant}`: {reason}")]
pub struct SecretGrantError {
    /// What was written.
    pub grant: String,
    /// What is wrong with it.
    pub reason: String,
}

impl SecretGrant {
    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { name, mode, hosts, .. } = self;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err("the name is made of letters, digits, `-`, `_` and `.`".to_owned());
        }
        match (mode, hosts.is_empty()) {
            (Mode::Inject, true) => {
                Err("inject needs the hosts that the secret is bound to: `:inject,HOST`".to_owned())
            }
            (Mode::Reveal | Mode::Sign, false) => {
                Err(format!("hosts go with the mode inject; with {} they would limit nothing", mode.as_str()))
            }
            _ => Ok(()),
        }
    }
}

/// Splits off the mode, with the hosts behind it.
fn split_mode(text: &str) -> Option<(&str, Mode, &str)> {
    text.rmatch_indices(':').find_map(|(at, _)| {
        let after = text.get(at + 1..)?;
        let (mode, hosts) = after.split_once(',').unwrap_or((after, ""));
        Some((text.get(..at)?, Mode::parse(mode)?, hosts))
    })
}

impl std::str::FromStr for SecretGrant {
    type Err = SecretGrantError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: &str| SecretGrantError { grant: text.to_owned(), reason: reason.to_owned() };
        let (name, rest) = text.split_once('=').ok_or_else(|| fail("written NAME=SOURCE:MODE"))?;
        let Some((source, mode, hosts)) = split_mode(rest) else {
            return Err(match rest.rsplit_once(':') {
                Some((_, other)) => fail(&format!("the mode `{other}` is none of reveal, sign, inject")),
                None => fail("the mode is missing: `:reveal`, `:sign` or `:inject,HOST`"),
            });
        };
        let hosts = hosts.split(',').filter(|host| !host.is_empty()).map(str::parse);
        let grant = Self {
            name: name.to_owned(),
            origin: source.parse().map_err(|reason: String| fail(&reason))?,
            mode,
            hosts: hosts.collect::<Result<_, String>>().map_err(|reason| fail(&reason))?,
        };
        grant.check().map_err(|reason| fail(&reason))?;
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> SecretGrant {
        text.parse().unwrap()
    }

    #[test]
    fn a_grant_has_name_source_and_mode() {
        let own = grant("access-key=env:HYPER_ACCESS_KEY:sign");
        assert_eq!((own.name.as_str(), own.mode), ("access-key", Mode::Sign));
        for (text, origin) in [
            ("k=env:HYPER_ACCESS_KEY:sign", "env:HYPER_ACCESS_KEY"),
            ("k=file:/etc/a:b.pem:reveal", "file:/etc/a:b.pem"),
            ("k=file:/etc/x:sign,y:reveal", "file:/etc/x:sign,y"),
            ("k=json:/etc/a.json#/clouds/x/secretkey:sign", "json:/etc/a.json#/clouds/x/secretkey"),
            ("k=kube:kube-system/hyper/secret.key:sign", "kube:kube-system/hyper/secret.key"),
            ("k=token:https://sts.example.com:reveal", "token:https://sts.example.com"),
        ] {
            assert_eq!(grant(text).origin.to_string(), origin);
        }
        let Origin::Exec(exec) = grant("k=exec:/bin/plugin --region  x:reveal y:sign").origin else { unreachable!() };
        assert_eq!((exec.command.as_str(), exec.arguments.join("|").as_str()), ("/bin/plugin", "--region|x:reveal|y"));
    }

    #[test]
    fn the_hosts_of_an_injected_secret_stand_behind_its_mode() {
        let own = grant("k=token:api://a:inject,https://api.example.com/v1,*.example.org:8443,unix:///run/x.sock");
        assert_eq!(own.mode, Mode::Inject);
        let hosts: Vec<_> = own.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["https://api.example.com:443/v1", "https://*.example.org:8443", "unix:///run/x.sock"]);
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
            ("key=json:/a.json:sign", "#/POINTER"),
            ("key=kube:a/b:sign", "kube:NAMESPACE/NAME/KEY"),
            ("key=kube:a//b:sign", "kube:NAMESPACE/NAME/KEY"),
            ("key=exec:plugin x:sign", "must be absolute"),
            ("key=env:A:inject", "needs the hosts"),
            ("key=env:A:sign,example.com", "would limit nothing"),
            ("key=env:A:inject,ftp://example.com", "`ftp` is none of"),
            ("key=env:A:inject,a..b", "no host name"),
        ] {
            let error = text.parse::<SecretGrant>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_programs_arguments_are_not_shown() {
        let shown = format!("{:?}", grant("k=exec:/bin/plugin --password hunter2:sign"));
        assert!(shown.contains("/bin/plugin") && !shown.contains("hunter2"), "{shown}");
    }
}
