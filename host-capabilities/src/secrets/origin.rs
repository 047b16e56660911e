//! Where a secret's value comes from, as it is written.
//!
//! | written                      | the value                                                                      |
//! |------------------------------|--------------------------------------------------------------------------------|
//! | `env:VARIABLE`               | a variable of the host's environment                                           |
//! | `file:/PATH`                 | a file, without newlines at its end                                            |
//! | `json:/PATH#/POINTER`        | one field of a JSON file (RFC 6901): a string, number or boolean               |
//! | `kube:NAMESPACE/NAME/KEY`    | a key of a Kubernetes Secret                                                   |
//! | `token:AUDIENCE`             | a token of the host's ServiceAccount for this audience                         |
//! | `exec:/PATH [ARGUMENT…]`     | what a program prints: the value, or an ExecCredential as kubectl's plugins do |

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::cluster::{Cluster, KubernetesKey, ServiceAccountToken};
use super::exec::Plugin;
use super::local::{Environment, File, JsonField};
use super::renewed::Renewed;
use super::source::SecretSource;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A variable of the host's environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A file.
    File {
        /// Absolute.
        path: String,
    },
    /// One field of a JSON file.
    Json {
        /// Absolute.
        path: String,
        /// A JSON pointer (RFC 6901), as `/clouds/x/secretkey`.
        pointer: String,
    },
    /// A key of a Kubernetes Secret.
    Kubernetes {
        /// Of the Secret.
        namespace: String,
        /// Of the Secret.
        name: String,
        /// In its data.
        key: String,
    },
    /// A token of a ServiceAccount (TokenRequest), renewed when four fifths of its life have passed.
    Token {
        /// Whom it is for.
        audience: String,
        /// Namespace and name of the ServiceAccount; none: the host's own.
        service_account: Option<(String, String)>,
        /// How long it is to live; none: an hour. The API server gives no less than ten minutes.
        life: Option<Duration>,
    },
    /// A program that prints it.
    Exec(Exec),
}

/// A program that prints a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Exec {
    /// Its absolute path.
    pub command: String,
    /// What it is called with.
    pub arguments: Vec<String>,
    /// Its environment, beside PATH and HOME of the host's.
    pub environment: BTreeMap<String, String>,
    /// How long what it prints is good where it does not say; none: until the backend refuses it.
    pub life: Option<Duration>,
    /// How long it may run; none: 30 s.
    pub timeout: Option<Duration>,
}

/// Without arguments and variables, which may be secrets themselves.
impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec").field("command", &self.command).finish_non_exhaustive()
    }
}

/// What sources stand on.
#[derive(Clone)]
pub struct Sources {
    /// Runs programs and requests.
    pub io: Handle,
    /// The cluster, where there is one.
    pub cluster: Option<Arc<dyn Cluster>>,
}

impl Sources {
    /// Without a cluster.
    pub const fn new(io: Handle) -> Self {
        Self { io, cluster: None }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("cluster", &self.cluster.is_some()).finish_non_exhaustive()
    }
}

impl Origin {
    /// The source that reads it.
    pub(crate) fn open(&self, sources: &Sources) -> Box<dyn SecretSource> {
        match self.clone() {
            Self::Environment { variable } => Box::new(Environment::new(variable)),
            Self::File { path } => Box::new(File::new(path)),
            Self::Json { path, pointer } => Box::new(JsonField::new(path, pointer)),
            Self::Kubernetes { namespace, name, key } => {
                Box::new(KubernetesKey { cluster: sources.cluster.clone(), namespace, name, key })
            }
            Self::Token { audience, service_account, life } => Box::new(Renewed::new(ServiceAccountToken {
                cluster: sources.cluster.clone(),
                audience,
                service_account,
                life,
            })),
            Self::Exec(exec) => Box::new(Renewed::new(Plugin { exec, io: sources.io.clone() })),
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = "env, file, json, kube, token, exec";
        let (scheme, rest) = text
            .split_once(':')
            .filter(|(_, rest)| !rest.is_empty())
            .ok_or_else(|| format!("the source is written SCHEME:PLACE, SCHEME one of {known}"))?;
        let absolute = |path: &str| match path.starts_with('/') {
            true => Ok(path.to_owned()),
            false => Err("the file's path must be absolute".to_owned()),
        };
        match scheme {
            "env" => Ok(Self::Environment { variable: rest.to_owned() }),
            "file" => Ok(Self::File { path: absolute(rest)? }),
            "json" => {
                let (path, pointer) = rest
                    .rsplit_once('#')
                    .filter(|(_, pointer)| pointer.starts_with('/'))
                    .ok_or("a field of a JSON file is written json:/ABSOLUTE/PATH#/POINTER")?;
                Ok(Self::Json { path: absolute(path)?, pointer: pointer.to_owned() })
            }
            "kube" => match rest.split('/').collect::<Vec<_>>().as_slice() {
                [namespace, name, key] if ![namespace, name, key].iter().any(|part| part.is_empty()) => {
                    Ok(Self::Kubernetes {
                        namespace: (*namespace).to_owned(),
                        name: (*name).to_owned(),
                        key: (*key).to_owned(),
                    })
                }
                _ => Err("a key of a Kubernetes Secret is written kube:NAMESPACE/NAME/KEY".to_owned()),
            },
            "token" => Ok(Self::Token { audience: rest.to_owned(), service_account: None, life: None }),
            "exec" => {
                let mut words = rest.split_ascii_whitespace().map(str::to_owned);
                let command = words.next().filter(|command| command.starts_with('/'));
                Ok(Self::Exec(Exec {
                    command: command.ok_or("the program's path must be absolute")?,
                    arguments: words.collect(),
                    environment: BTreeMap::new(),
                    life: None,
                    timeout: None,
                }))
            }
            other => Err(format!("the source `{other}` is none of {known}")),
        }
    }
}

/// As it is written; of a program only its path.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { variable } => write!(f, "env:{variable}"),
            Self::File { path } => write!(f, "file:{path}"),
            Self::Json { path, pointer } => write!(f, "json:{path}#{pointer}"),
            Self::Kubernetes { namespace, name, key } => write!(f, "kube:{namespace}/{name}/{key}"),
            Self::Token { audience, .. } => write!(f, "token:{audience}"),
            Self::Exec(exec) => write!(f, "exec:{}", exec.command),
        }
    }
}
